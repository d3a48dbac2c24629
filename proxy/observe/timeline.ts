// What happens to one call and when, kept until the call is over: a span is made of it then.
export type Attributes = Readonly<Record<string, string | number | boolean | readonly string[]>>

export type Ended = {
  /** Of few values: the method, and the provider where it is known. */
  readonly name: string
  readonly attributes: Attributes
  /** The call failed by no fault of its caller. */
  readonly failed: boolean
}
export type Timeline = {
  /** This happens now. */
  readonly at: (event: string, attributes?: Attributes) => void
  /** The call is over; once. */
  readonly end: (ended: Ended) => void
}
export type Header = string | string[] | undefined
/** null: nothing is kept of this call. @param traceparent as Node has the header */
export type BeginTimeline = (traceparent: Header) => Timeline | null
