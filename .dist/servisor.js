#!/usr/bin/env node
// Becomes the binary of this machine's package; before Node.js 22.15 it runs it, and passes on signals and the exit code.
'use strict';
const fs = require('node:fs');
const fail = (text) => { console.error(`servisor: ${text}`); process.exit(1); };
const name = `servisor-${process.platform}-${process.arch}`;
let binary;
try {
  binary = require.resolve(`${name}/bin/servisor`);
} catch {
  fail(`the optional dependency ${name} is not installed; there are packages for Linux on x64 and arm64`);
}
// A failed execve() aborts Node.js: what prevents it is looked for before.
const refused = (error) => fail(`can't run ${binary}: ${error.code}; install ${name} again, where programs may run`);
try { fs.accessSync(binary, fs.constants.X_OK); } catch (error) { refused(error); }
if (process.execve) process.execve(binary, [binary, ...process.argv.slice(2)]);
// A terminal sends these two to both processes; of a second one the daemon kills its servers.
const terminal = () => { try { return fs.openSync('/dev/tty'); } catch { return false; } };
for (const signal of ['SIGINT', 'SIGQUIT', 'SIGTERM', 'SIGHUP', 'SIGPWR', 'SIGUSR1', 'SIGUSR2']) {
  process.on(signal, () => /INT|QUIT/.test(signal) && terminal() || child.kill(signal));
}
const child = require('node:child_process').spawn(binary, process.argv.slice(2), { stdio: 'inherit' });
child.on('error', refused);
child.on('exit', (code, signal) => signal ? process.removeAllListeners(signal).kill(process.pid, signal) : process.exit(code));
