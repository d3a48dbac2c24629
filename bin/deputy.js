#!/usr/bin/env node
// Old syntax on purpose: an old Node must reach the sentence below.
var version = process.versions.node.split('.')
if (Number(version[0]) < 24 || (Number(version[0]) === 24 && Number(version[1]) < 12)) {
  process.stderr.write('deputy needs Node 24.12 or newer; this is ' + process.version + '\n')
  process.exitCode = 69
} else {
  void import('node:fs')
    .then(function (fs) {
      var built = new URL('../dist/main.js', import.meta.url)
      return import(fs.existsSync(built) ? built : new URL('../proxy/main.ts', import.meta.url))
    })
    .then(function (main) {
      return main.run(process.argv.slice(2))
    })
}
