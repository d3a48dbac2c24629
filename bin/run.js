// Runs a script of the repository under a Node that can: `node bin/run.js FILE ARGS`. Old syntax on purpose.
var version = process.versions.node.split('.')
if (Number(version[0]) < 24 || (Number(version[0]) === 24 && Number(version[1]) < 12)) {
  process.stderr.write(
    'this needs Node 24.12 or newer, and this is ' +
      process.version +
      ': run it by `npm run`, which uses the Node that `npm ci` installs\n',
  )
  process.exitCode = 69
} else {
  void import('node:url').then(function (url) {
    process.argv.splice(1, 1)
    return import(url.pathToFileURL(process.argv[1]).href)
  })
}
