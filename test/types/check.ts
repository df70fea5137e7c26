/** True when both types are the same. */
export type Equal<A, B> = (<X>() => X extends A ? 1 : 2) extends (<X>() => X extends B ? 1 : 2) ? true : false
/** A line `export type _ = [Expect<Equal<...>>]` does not compile when the types differ. */
export type Expect<T extends true> = T
