#!/usr/bin/env node
// Old syntax on purpose: an old Node must reach the sentence below.
var version = process.versions.node.split('.')
if (Number(version[0]) < 24 || (Number(version[0]) === 24 && Number(version[1]) < 12)) {
  process.stderr.write('deputy needs Node 24.12 or newer; this is ' + process.version + '\n')
  process.exitCode = 69
} else {
  // Before anything else: Node would open its inspector, through which others on this machine read memory and files.
  process.on('SIGUSR1', function () {})
  var fs = process.getBuiltinModule('node:fs')
  var url = process.getBuiltinModule('node:url')
  // Compiled code is kept in the package's own folder, for whoever owns it alone: half of the start. Where nothing may
  // be written there is none. NODE_DISABLE_COMPILE_CACHE=1 turns it off.
  var cache = url.fileURLToPath(new URL('../.cache', import.meta.url))
  try {
    fs.mkdirSync(cache, { mode: 448 }) // 0700: it is code
  } catch (error) {
    void error // it is there, or cannot be
  }
  process.getBuiltinModule('node:module').enableCompileCache(cache)
  var built = new URL('../dist/main.js', import.meta.url)
  void import(fs.existsSync(built) ? built : new URL('../proxy/main.ts', import.meta.url)).then(
    function (main) {
      return main.run(process.argv.slice(2))
    },
  )
}
