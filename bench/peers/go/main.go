// Pitaya Go as a peer of the benchmark: a JSON server with a WebSocket and a TCP acceptor, standalone or, where NATS_URL
// is set, a member of a cluster with RPC over NATS and discovery through ETCD_URL. Of a cluster the servers of type "chat"
// have the handlers and all others the clients.
//
// Compression is off unless COMPRESSION is "true" (Pitaya's default is on, which costs far more per message) and the
// logger is silenced; everything else is Pitaya's default. The addresses come from WS_ADDR and TCP_ADDR, the server type from SERVER_TYPE. It ends when its
// standard input does, so that it cannot outlive the benchmark.
package main

import (
	"context"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
	pitaya "github.com/topfreegames/pitaya/v3/pkg"
	"github.com/topfreegames/pitaya/v3/pkg/acceptor"
	"github.com/topfreegames/pitaya/v3/pkg/component"
	"github.com/topfreegames/pitaya/v3/pkg/config"
	"github.com/topfreegames/pitaya/v3/pkg/logger"
	logruswrapper "github.com/topfreegames/pitaya/v3/pkg/logger/logrus"
)

const (
	chat  = "chat"
	lobby = "lobby"
)

type Message struct {
	Name    string `json:"name"`
	Content string `json:"content"`
}

type Joined struct {
	Code   int    `json:"code"`
	Result string `json:"result"`
}

// Room has the handlers; Pitaya asks that it and its messages are exported.
type Room struct {
	component.Base
	app pitaya.Pitaya
}

// Join binds the session to a uid of its own and adds it to the lobby.
func (r *Room) Join(ctx context.Context, _ []byte) (*Joined, error) {
	session := r.app.GetSessionFromCtx(ctx)
	if err := session.Bind(ctx, strconv.FormatInt(session.ID(), 10)); err != nil {
		return nil, pitaya.Error(err, "BENCH-BIND")
	}
	uid := session.UID()
	if err := r.app.GroupAddMember(ctx, lobby, uid); err != nil {
		return nil, pitaya.Error(err, "BENCH-GROUP")
	}
	if err := session.OnClose(func() { _ = r.app.GroupRemoveMember(context.Background(), lobby, uid) }); err != nil {
		return nil, pitaya.Error(err, "BENCH-CLOSE")
	}
	return &Joined{Result: "success"}, nil
}

// Message is a notify: it goes to every member of the lobby, its sender included.
func (r *Room) Message(ctx context.Context, m *Message) {
	_ = r.app.GroupBroadcast(ctx, chat, lobby, "onMessage", m)
}

// Echo answers what it got.
func (r *Room) Echo(_ context.Context, m *Message) (*Message, error) {
	return m, nil
}

func main() {
	quiet := logrus.New()
	quiet.SetOutput(io.Discard)
	quiet.SetLevel(logrus.PanicLevel)
	logger.SetLogger(logruswrapper.NewWithFieldLogger(quiet))

	conf := config.NewDefaultPitayaConfig()
	conf.Handler.Messages.Compression = os.Getenv("COMPRESSION") == "true"
	conf.Heartbeat.Interval = 30 * time.Second

	mode, serverType := pitaya.Standalone, chat
	if nats := os.Getenv("NATS_URL"); nats != "" {
		mode, serverType = pitaya.Cluster, os.Getenv("SERVER_TYPE")
		conf.Cluster.RPC.Client.Nats.Connect = nats
		conf.Cluster.RPC.Server.Nats.Connect = nats
		conf.Cluster.SD.Etcd.Endpoints = []string{os.Getenv("ETCD_URL")}
	}
	isFrontend := mode == pitaya.Standalone || serverType != chat

	builder := pitaya.NewDefaultBuilder(isFrontend, serverType, mode, map[string]string{}, *conf)
	if isFrontend {
		builder.AddAcceptor(acceptor.NewWSAcceptor(os.Getenv("WS_ADDR")))
	}
	if mode == pitaya.Standalone {
		builder.AddAcceptor(acceptor.NewTCPAcceptor(os.Getenv("TCP_ADDR")))
	}
	app := builder.Build()
	defer app.Shutdown()

	if serverType == chat {
		if err := app.GroupCreate(context.Background(), lobby); err != nil {
			panic(err)
		}
		app.Register(&Room{app: app}, component.WithName("room"), component.WithNameFunc(strings.ToLower))
	}

	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	app.Start()
}
