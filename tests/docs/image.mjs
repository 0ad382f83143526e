// An image without a container engine: what its Dockerfile copies is laid out in a directory, on busybox in the place of whatever
// image it begins with, and its entry point is run there as PID 1, by chroot.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { ROOT } from './markdown.mjs';
import { isolated } from './shell.mjs';

const machine = { x64: 'x86_64', arm64: 'aarch64' }[process.arch];
const STATIC = path.join(ROOT, `target/${machine}-unknown-linux-musl/release/servisor`);
const BUSYBOX = process.env.BUSYBOX ?? path.join(ROOT, 'target/busybox/bin/busybox');
const PAGE = '<h1>from the template</h1>';

/** Lays out the image of a Dockerfile; `files` are the blocks that its context has beside the binary and a directory `site`. */
export function build(directory, { place, text }, files) {
  for (const file of [STATIC, BUSYBOX]) assert.ok(fs.existsSync(file), `${file} is missing: \`make image\` makes it`);
  const context = path.join(directory, 'context');
  fs.mkdirSync(path.join(context, 'site'), { recursive: true });
  fs.writeFileSync(path.join(context, 'site/index.html'), PAGE);
  for (const file of files) fs.writeFileSync(path.join(context, file.argument), file.text);
  const image = { directory: '', workdir: '/', entry: null, serves: files.length > 0 };
  const stages = {};
  const inside = (root, name) => path.join(root, path.resolve(image.workdir, name));
  for (const line of text.split('\n').filter(Boolean)) {
    const [word, ...rest] = line.split(' ');
    if (word === 'FROM') {
      image.directory = path.join(directory, `stage${Object.keys(stages).length}`);
      image.workdir = '/';
      fs.mkdirSync(image.directory);
      stages[rest[2] ?? image.directory] = image.directory;
      if (rest[0] !== 'scratch') base(image.directory);
    } else if (word === 'COPY') {
      const from = rest[0].startsWith('--from=') ? stages[rest.shift().slice('--from='.length)] : context;
      const [source, target] = rest;
      const isBinary = from === context && path.basename(source) === 'servisor';
      const into = inside(image.directory, target);
      fs.mkdirSync(path.dirname(into), { recursive: true });
      fs.cpSync(isBinary ? STATIC : path.join(from, source), into, { recursive: true });
    } else if (word === 'WORKDIR') {
      image.workdir = rest[0];
      fs.mkdirSync(path.join(image.directory, image.workdir), { recursive: true });
    } else if (word === 'ENTRYPOINT') {
      image.entry = JSON.parse(rest.join(' '));
    } else {
      assert.equal(word, 'VOLUME', `${place}: this test does not know ${word}`);
    }
  }
  return image;
}

function base(root) {
  for (const name of ['bin', 'dev', 'proc', 'tmp']) fs.mkdirSync(path.join(root, name));
  fs.copyFileSync(BUSYBOX, path.join(root, 'bin/busybox'));
  const applets = spawnSync(BUSYBOX, ['--list'], { encoding: 'utf8' }).stdout.split('\n').filter(Boolean);
  for (const name of applets.filter((name) => name !== 'busybox')) fs.symlinkSync('busybox', path.join(root, 'bin', name));
}

/** Runs the image; it has to answer, to serve what its payload says, to pass the probes, and to end with 0 on SIGTERM. */
export function bring(directory, image, probes) {
  const quoted = (words) => words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  const checks = [];
  if (image.serves) checks.push(['payload', 'curl -sS "http://127.0.0.1:18080/ready?wait=true&timeout_ms=20000" && echo && curl -sS http://127.0.0.1:8000/ && echo']);
  if (probes) {
    const [, command] = probes.text.match(/^ *command: (\[.*\])/m) ?? [];
    const [, probed, port] = probes.text.match(/httpGet: \{ path: (\S+), port: (\d+) \}/) ?? [];
    assert.ok(command && port, `${probes.place}: this test knows one httpGet and one command`);
    checks.push(['liveness', `curl -sSf http://127.0.0.1:${port}${probed} >/dev/null`]);
    checks.push(['readiness', `chroot ${image.directory} ${quoted(JSON.parse(command))}`]);
    // And it must be able to fail.
    checks.push(['not ready', `curl -sSf -H "Authorization: Bearer secret" -H "Content-Type: application/json" http://127.0.0.1:18080/servers \
      -d '{"slug":"never","start":"sleep 600","port":8001}' >/dev/null; ! chroot ${image.directory} ${quoted(JSON.parse(command))}`]);
  }
  const script = `
    : >${image.directory}/dev/null && mount --bind /dev/null ${image.directory}/dev/null
    unshare --pid --fork --kill-child --mount-proc=${image.directory}/proc chroot ${image.directory} \
      /bin/busybox env -i PATH=/usr/local/bin:/usr/bin:/bin SERVISOR_ACCESS_TOKEN=secret /bin/busybox sh -c 'cd ${image.workdir} && exec "$@"' sh ${quoted(image.entry)} >log 2>&1 &
    PARENT=$!
    answers || echo "no answer"
    ${checks.map(([name, command]) => `{ ${command}\n} || echo "failed: ${name}"`).join('\n')}
    kill -TERM $(awk -v parent=$PARENT '$4 == parent { print $1 }' /proc/[0-9]*/stat)
    wait $PARENT; echo "exit code $?"`;
  const { stdout, stderr } = isolated(directory, script);
  const log = fs.readFileSync(path.join(directory, 'log'), 'utf8');
  assert.doesNotMatch(stdout, /no answer|failed:/, `${stderr}\n${log}`);
  assert.match(stdout, /exit code 0\n$/, `${stderr}\n${log}`);
  if (image.serves) {
    assert.match(stdout, /^\{"ready":true,"healthy":true/m, log);
    assert.ok(stdout.includes(PAGE), `${stdout}\n${log}`);
  }
}
