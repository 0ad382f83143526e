// A document's blocks, run in one shell: in a network and a process namespace of their own, so that the ports that are printed are
// free whatever else runs on the machine, and nothing is left at the end.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { ROOT } from './markdown.mjs';

export const BINARY = process.env.SERVISOR_BIN ?? path.join(ROOT, 'target/debug/servisor');
/** How long a document, or an image, may take, in ms. */
const LIMIT = 180_000;

export const scratch = () => fs.mkdtempSync(path.join(os.tmpdir(), 'servisor-docs-'));

/** What each script begins with: the loopback device, and how to wait for a daemon. */
const PRELUDE = `
python3 -c "import fcntl, socket, struct; fcntl.ioctl(socket.socket(), 0x8914, struct.pack('16sh22x', b'lo', 0x41))"
answers() { for _ in $(seq 300); do curl -sf http://127.0.0.1:18080/health >/dev/null && return; sleep 0.1; done; return 1; }
`;

/** Runs a script by bash in `directory`, in its namespaces. */
export function isolated(directory, script) {
  const file = path.join(directory, 'script.sh');
  fs.writeFileSync(file, PRELUDE + script);
  const user = process.getuid() === 0 ? [] : ['--map-root-user'];
  const flags = ['--net', '--pid', '--fork', '--kill-child', '--mount-proc', ...user];
  const kept = Object.entries(process.env).filter(([name]) => !/^(SERVISOR|COMPUTESDK|NODE_TEST|npm|MAKE|MFLAGS)/.test(name));
  const env = { ...Object.fromEntries(kept), HOME: path.join(directory, 'home'), PATH: `${directory}/bin:${process.env.PATH}` };
  const ended = spawnSync('unshare', [...flags, 'bash', file], { cwd: directory, env, encoding: 'utf8', timeout: LIMIT, killSignal: 'SIGKILL' });
  if (ended.error) throw new Error(`the script did not end within ${LIMIT} ms: ${ended.error.message}\n${ended.stdout}${ended.stderr}`);
  return ended;
}

/** A checkout as far as `make run` and the examples need one, with the binary in the place of what cargo would build. */
export function checkout(directory) {
  fs.mkdirSync(path.join(directory, 'bin'));
  fs.mkdirSync(path.join(directory, 'home'));
  fs.mkdirSync(path.join(directory, 'target/release'), { recursive: true });
  fs.copyFileSync(path.join(ROOT, 'Makefile'), path.join(directory, 'Makefile'));
  fs.symlinkSync(BINARY, path.join(directory, 'target/release/servisor'));
  fs.symlinkSync(BINARY, path.join(directory, 'bin/servisor'));
  fs.symlinkSync(path.join(ROOT, 'tests/sdk/node_modules'), path.join(directory, 'node_modules'));
  fs.writeFileSync(path.join(directory, 'bin/cargo'), '#!/bin/sh\n', { mode: 0o755 });
}

/**
 * Runs blocks in order. Returns, for each one that was run, `{ output, failed }`: what it printed, and the exit codes and texts of
 * the commands that did not end with 0. The last one is the end itself: which daemons did not end well, and what is left.
 */
export function run(directory, blocks) {
  const lines = [`set -m; END=${directory}/end; : >$END`,
    'stop() { kill -INT -- -$DAEMON; wait $DAEMON || true; pgrep_left; DAEMON=; }',
    // The shell itself, and what it has for its own use at this moment.
    'pgrep_left() { for p in /proc/[0-9]*; do p=${p#/proc/}; case $p in 1|$$|$BASHPID) ;; *) tr "\\0" " " </proc/$p/cmdline 2>/dev/null | grep -v "^ *$" >>$END;; esac; done; }',
  ];
  const results = blocks.map((block, index) => {
    const [file, out, failed] = ['sh', 'out', 'failed'].map((kind) => path.join(directory, `block${index}.${kind}`));
    fs.writeFileSync(failed, '');
    if (block.marker === 'file') {
      lines.push(`cp ${file} ${block.argument}`);
    } else if (block.marker === 'daemon') {
      lines.push('[ -z "$DAEMON" ] || stop', `( . ${file} ) >${out} 2>&1 & DAEMON=$!`, `answers || echo "no answer" >>${failed}`);
    } else if (block.marker === 'start') {
      lines.push('[ -z "$DAEMON" ] || { stop; AGAIN=$FIRST; }',
        `( . ${file} ) >${out} 2>&1 & OWN=$!; answers || echo "no answer" >>${failed}; kill -INT -- -$OWN; wait $OWN || echo "exit $?" >>${failed}`,
        '[ -z "$AGAIN" ] || { ( . $AGAIN ) >/dev/null 2>&1 & DAEMON=$!; answers; }');
    } else {
      lines.push(`trap 'echo "$? $BASH_COMMAND" >>${failed}' ERR; . ${file} >${out} 2>&1 </dev/null; trap - ERR`);
    }
    if (block.marker === 'daemon') lines.push(`FIRST=${file}`);
    fs.writeFileSync(file, block.text);
    return { block, out, failed };
  });
  lines.push('[ -z "$DAEMON" ] || stop');
  const { stderr } = isolated(directory, lines.join('\n'));
  const text = (file) => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8') : '');
  // When the last command of a block fails, so does the reading of the block.
  const own = (line) => line && !/^\d+ \. \S*block\d+\.sh >/.test(line);
  const done = results.map(({ block, out, failed }) => ({ block, output: text(out), failed: text(failed).split('\n').filter(own) }));
  return { done, left: text(path.join(directory, 'end')), stderr };
}
