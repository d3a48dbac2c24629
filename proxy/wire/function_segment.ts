// Functions of OData whose arguments stand within their segment: `search(q='plan')`, `cell(row=1,column=2)`. Pure.
const CALL =
  /^([A-Za-z][\w.]*)\((\w+=(?:'(?:[^']|'')*'|[\w.{}-]+)(?:,\w+=(?:'(?:[^']|'')*'|[\w.{}-]+))*)\)$/
const VALUE = /=(?:'(?:[^']|'')*'|[^,']+)/g

/**
 * Its name and those of its arguments, in their order, and which of them are texts: `search(q='')`, `cell(row=,column=)`.
 * The same for a template, `search(q='{q}')`. null: no such call; a quote within a text stands twice (OData 4.01 ABNF, string),
 * or the text is none.
 */
export const signatureOf = (segment: string): string | null => {
  if (!segment.endsWith(')')) return null
  const [, name = '', list = ''] = CALL.exec(segment) ?? []
  return name === ''
    ? null
    : `${name}(${list.replaceAll(VALUE, (one) => (one[1] === "'" ? "=''" : '='))})`
}
