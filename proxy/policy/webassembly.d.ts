// The part of WebAssembly that is used here: TypeScript knows it from the DOM only, which this program is not in.
declare namespace WebAssembly {
  class Module {
    constructor(bytes: Uint8Array<ArrayBuffer>)
    static exports(module: Module): { readonly name: string }[]
    static imports(module: Module): { readonly name: string }[]
  }
  class Instance {
    constructor(
      module: Module,
      imports: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
    )
    readonly exports: Readonly<Record<string, unknown>>
  }
  class Memory {
    constructor(pages: { readonly initial: number; readonly maximum?: number })
    readonly buffer: ArrayBuffer
    grow(pages: number): number
  }
  type WebAssemblyInstantiatedSource = { readonly module: Module; readonly instance: Instance }
  type MemoryDescriptor = { readonly initial: number; readonly maximum?: number }
  function compile(bytes: Uint8Array<ArrayBuffer>): Promise<Module>
}
