// Pitaya's own client, as its command line uses it: joins the demo's room, asks, says something, and hears it. Arguments: tcp or ws,
// address. Prints one JSON line for each message that comes; ends when it heard itself, with 1 after five seconds.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/topfreegames/pitaya/v3/pkg/client"
	"github.com/topfreegames/pitaya/v3/pkg/conn/message"
)

const said = `{"name":"go","content":"hi"}`

func main() {
	c := client.New(logrus.ErrorLevel)
	var err error
	if os.Args[1] == "ws" {
		err = c.ConnectToWS(os.Args[2], "/")
	} else {
		err = c.ConnectTo(os.Args[2])
	}
	if err != nil {
		fail(err)
	}
	for _, route := range []string{"room.join", "chat.room.echo", "room.none"} {
		if _, err := c.SendRequest(route, []byte(said)); err != nil {
			fail(err)
		}
	}
	late := time.After(5 * time.Second)
	for {
		select {
		case m := <-c.MsgChannel():
			line, _ := json.Marshal(map[string]any{"id": m.ID, "route": m.Route, "isError": m.Err, "data": string(m.Data)})
			fmt.Println(string(line))
			if m.Type == message.Response && m.Err {
				if err := c.SendNotify("room.message", []byte(said)); err != nil {
					fail(err)
				}
			}
			if m.Route == "onMessage" {
				return
			}
		case <-late:
			fail("nothing was heard")
		}
	}
}

func fail(why any) {
	fmt.Fprintln(os.Stderr, why)
	os.Exit(1)
}
