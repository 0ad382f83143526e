// Every code block of the docs' chapter, run as it is printed, and what its comments promise. Run by `docs.test.js` in a
// root of its own (`room.sh`), where /app and /templates are what the docs assume; all of it twice on the same daemon.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Daemon, TOKEN, ask, close, install, listen, logged, reaches, until } from '../support.js';
import { kept } from './blocks.mjs';

const blocks = kept();
const ROUNDS = Number(process.env.ROUNDS ?? 2);
/** Node 22 has a WebSocket of its own. */
const OPTIONS = globalThis.WebSocket ? [] : ['--experimental-websocket'];

const daemon = await Daemon.start({ SERVISOR_GATEWAY: '1' });

/** What a program can see of what a block has made. */
const REPORT = `
;console.log('\\0' + JSON.stringify({
  server: typeof server === 'undefined' ? undefined : server,
  servers: typeof servers === 'undefined' ? undefined : servers,
  logs: typeof logs === 'undefined' ? undefined : logs,
  stdout: typeof stdout === 'undefined' ? undefined : stdout,
  stderr: typeof stderr === 'undefined' ? undefined : stderr,
  id: sandbox.sandboxId,
}));`;

/** The statuses that a server has gone through since the daemon's log was `from` characters long. */
function statuses(slug, from) {
  const lines = daemon.log.slice(from).split('\n').map((line) => line.split(`[${slug}] `)[1]?.split(' ')[0]);
  return lines.filter((word) => /^(installing|starting|running|ready|restarting|stopped|failed)$/.test(word));
}

/**
 * Runs a block, behind the line that it needs if it has none of its own: a new sandbox, or that of `id`. Returns what it
 * has made, what it has printed, and the statuses of servers since.
 */
async function run(block, { id, fails } = {}) {
  const from = daemon.log.length;
  const sandbox = id ? `getById(${JSON.stringify(id)})` : 'create()';
  const imports = block.includes("from 'computesdk'") ? '' : "import { compute } from 'computesdk';\n";
  const declares = block.includes('const sandbox') ? '' : `const sandbox = await compute.sandbox.${sandbox};\n`;
  const environment = {
    PATH: process.env.PATH,
    HOME: process.env.HOME,
    COMPUTESDK_TRIBUTARY_URL: daemon.url,
    COMPUTESDK_API_KEY: TOKEN,
    COMPUTESDK_PROVIDER: 'computesdk',
  };
  const options = [...OPTIONS, '--input-type=module', '-'];
  const cwd = path.join(import.meta.dirname, '..');
  const child = spawn(process.execPath, options, { cwd, env: environment, stdio: ['pipe', 'pipe', 'pipe'] });
  child.stdin.end(imports + declares + block + REPORT);
  const [out, err] = await Promise.all([child.stdout, child.stderr].map(async (stream) => {
    let text = '';
    for await (const chunk of stream) text += chunk;
    return text;
  }));
  if (child.exitCode === null) await once(child, 'exit');
  if (fails) {
    assert.notEqual(child.exitCode, 0, out);
    return err;
  }
  assert.equal(child.exitCode, 0, `${block}\n${out}\n${err}`);
  const [printed, report] = out.split('\0');
  return { ...JSON.parse(report), printed, went: (slug) => statuses(slug, from) };
}

/** The calls of a block that starts the same slug more than once: each of them is an example of its own. */
const calls = (block) => block.split(/\n\n(?=\/\/ )/);
const sandboxOf = ({ id }) => daemon.sandbox({ sandboxId: id });
const inOrder = (went, ...words) => {
  let rest = went;
  for (const word of words) {
    assert.ok(rest.includes(word), `${words.join(' -> ')} is not in ${went}`);
    rest = rest.slice(rest.indexOf(word) + 1);
  }
};

/** The app of the docs at `place`, with the health endpoint that block 7 prints. */
function app(place) {
  install(path.dirname(place), 'docs', path.basename(place));
  fs.writeFileSync(path.join(place, 'health.js'), blocks[7]);
}

if (!process.env.APP) app('/app');
app(daemon.root);
for (const name of ['nextjs', 'react']) {
  app(`/templates/${name}`);
  fs.writeFileSync(`/templates/${name}/${name}.config.js`, '');
}

/** What each block promises, by its number. */
const promises = [
  async (block) => {
    const made = await run(block);
    assert.match(made.printed, /^web\nstarting\n/);
    const { url } = await reaches(sandboxOf(made), 'web', 'ready');
    assert.equal(await (await fetch(url)).text(), 'hello');
    // `running` has no length where the port is found at once and nothing else is waited for.
    inOrder(made.went('web'), 'starting', 'ready');
  },
  async (block) => {
    const made = await run(block);
    assert.equal(made.server.status, 'installing');
    await reaches(sandboxOf(made), 'web', 'ready');
    inOrder(made.went('web'), 'installing', 'starting', 'ready');
  },
  async (block) => {
    fs.rmSync(path.join(daemon.root, 'built.txt'), { force: true });
    const made = await run(block);
    for (const slug of ['node-app', 'python-app', 'fullstack']) {
      await reaches(sandboxOf(made), slug, 'ready');
      inOrder(made.went(slug), 'installing', 'starting', 'ready');
    }
    assert.equal(fs.readFileSync(path.join(daemon.root, 'built.txt'), 'utf8'), 'built', 'both parts of the chain ran');
  },
  async (block) => {
    const made = await run(block);
    const { server } = sandboxOf(made);
    // 'Give up after 5 restarts', 'Wait 2 seconds between restarts'.
    const from = Date.now();
    for (let crashes = 0; crashes < 6; crashes++) {
      const { port } = await reaches(sandboxOf(made), 'api', 'ready');
      await fetch(`http://localhost:${port}/crash`).catch(() => null);
      await until('the crash is seen', async () => (await server.retrieve('api')).status !== 'ready');
    }
    const gaveUp = await reaches(sandboxOf(made), 'api', 'failed');
    assert.equal(gaveUp.restart_count, 5);
    assert.ok(Date.now() - from >= 5 * 2000, 'each restart is delayed');
    // 'Unlimited restarts', of one that ends with 0.
    const worker = await server.retrieve('worker');
    assert.equal(worker.max_restarts, 0);
    assert.ok(worker.restart_count >= 4, `${worker.restart_count}`);
    assert.ok(!made.went('worker').includes('failed'));
    return made;
  },
  async (block, before) => {
    const { printed, server } = await run(block, before[3]);
    assert.equal(printed, `${server.restart_count}\n`);
    assert.equal(server.restart_count, 5, 'the number of restarts so far');
  },
  async (block) => {
    const made = await run(block);
    const ready = await reaches(sandboxOf(made), 'web', 'ready');
    assert.deepEqual([ready.healthy, ready.health_status], [true, 'healthy']);
    const { path: place, interval_ms, timeout_ms, delay_ms } = ready.health_check;
    assert.deepEqual([place, interval_ms, timeout_ms, delay_ms], ['/health', 5000, 3000, 2000]);
    // 'Wait before first check': it listens long before it is ready.
    assert.ok(Date.parse(ready.ready_at) - Date.parse(ready.started_at) >= 2000);
    return made;
  },
  async (block, before) => {
    const { printed } = await run(block, before[5]);
    assert.equal(printed, 'true\nhealthy\n');
  },
  // Code of an app, and the fields of a configuration: the app of these tests runs it, and block 5 has asked it.
  async (block) => {
    const routes = {};
    new Function('app', block)({ get: (place, handler) => { routes[place] = handler; } });
    assert.deepEqual(Object.keys(routes), ['/health']);
    const { port } = await daemon.sandbox().server.retrieve('web');
    assert.equal(await ask(port, '/health'), '{"status":"ok"}');
  },
  async (block) => {
    const [any, strict] = calls(block);
    const free = await run(any);
    assert.equal((await sandboxOf(free).server.retrieve('api')).port, 3000);
    const sandbox = await run('');
    const other = await listen(3000);
    try {
      const next = await run(any, sandbox);
      assert.equal((await sandboxOf(next).server.retrieve('api')).port, 3001, 'the next available one');
      await sandboxOf(next).server.delete('api');
      const refusal = await run(strict, { ...sandbox, fails: true });
      assert.match(refusal, /port 3000 is held by pid \d+/);
    } finally {
      await close(other);
    }
    const made = await run(strict);
    assert.equal((await reaches(sandboxOf(made), 'api', 'ready')).port, 3000);
  },
  async (block) => {
    const [inline, file, both] = calls(block);
    const environment = async (call) => {
      const made = await run(call);
      const { port } = await reaches(sandboxOf(made), 'api', 'ready');
      return JSON.parse(await ask(port, '/env'));
    };
    const { NODE_ENV, PORT, DEBUG } = await environment(inline);
    assert.deepEqual([NODE_ENV, PORT, DEBUG], ['production', '3000', 'app:*']);
    assert.equal((await environment(file)).FROM_FILE, '.env.production');
    const last = await environment(both);
    assert.deepEqual([last.FROM_FILE, last.DEBUG], ['.env', 'true'], 'inline takes precedence');
  },
  async (block) => {
    const made = await run(block);
    const { server } = sandboxOf(made);
    const { pid, stop_timeout_ms } = await reaches(sandboxOf(made), 'api', 'ready');
    assert.equal(stop_timeout_ms, 15_000);
    await server.stop('api');
    assert.match((await server.logs('api')).logs, /SIGTERM: closing/);
    assert.ok(!fs.existsSync(`/proc/${pid}`));
  },
  // A placeholder that can not be run: it says what is missing.
  async (block) => assert.match(await run(block, { fails: true }), /slug is required; start is required/),
  async (block) => {
    const made = await run('');
    const { server } = sandboxOf(made);
    await server.start({ slug: 'api', start: 'node server.js' });
    await server.start({ slug: 'worker', start: 'sleep 1000' });
    const { url } = await reaches(sandboxOf(made), 'api', 'ready');
    await reaches(sandboxOf(made), 'worker', 'running');
    const { printed } = await run(block, made);
    assert.equal(printed, `api: ready at ${url}\nworker: running at no URL yet\n`);
  },
  async (block) => {
    const made = await run('');
    await sandboxOf(made).server.start({ slug: 'api', start: 'node server.js', port: 3000, health_check: {} });
    const { pid, url } = await reaches(sandboxOf(made), 'api', 'ready');
    const { printed } = await run(block, made);
    assert.equal(printed, `ready\n${url}\n3000\n${pid}\ntrue\n0\n`);
    return made;
  },
  async (block, before) => {
    const [stop, remove] = calls(block);
    const { server } = sandboxOf(before[13]);
    const { pid } = await server.retrieve('api');
    await run(stop, before[13]);
    const stopped = await server.retrieve('api');
    assert.deepEqual([stopped.status, stopped.start, fs.existsSync(`/proc/${pid}`)], ['stopped', 'node server.js', false]);
    await run(remove, before[13]);
    assert.deepEqual(await server.list(), []);
    await server.start({ slug: 'api', start: 'node server.js' });
    await run(block, before[13]);
    assert.deepEqual(await server.list(), [], 'both, as printed');
  },
  async (block) => {
    const made = await run('');
    const { pid } = await sandboxOf(made).server.start({ slug: 'api', start: 'node server.js' });
    await reaches(sandboxOf(made), 'api', 'ready');
    const { printed, server } = await run(block, made);
    assert.equal(printed, 'starting\n');
    assert.notEqual(server.pid, pid);
    await logged(sandboxOf(made), 'api', 'a line on stderr', { stream: 'stderr' });
    return made;
  },
  async (block, before) => {
    const { printed, logs, stdout, stderr } = await run(block, before[15]);
    assert.equal(printed.trimEnd(), logs.logs.trimEnd());
    assert.ok(stdout.logs.includes('listening on') && !stdout.logs.includes('a line on stderr'), stdout.logs);
    assert.match(stderr.logs, /^(a line on stderr\n)+$/);
    for (const line of [...stdout.logs.split('\n'), 'a line on stderr']) assert.ok(logs.logs.includes(line));
  },
  async (block) => {
    const made = await run(block);
    await reaches(sandboxOf(made), 'web', 'ready');
    inOrder(made.went('web'), 'installing', 'starting', 'running', 'ready');
    const { restart_policy, health_check, healthy } = await sandboxOf(made).server.retrieve('web');
    assert.deepEqual([restart_policy, health_check.path, health_check.interval_ms, healthy], ['on-failure', '/', 5000, true]);
  },
  async (block, _, round) => {
    // Only the template brings the project, the first time.
    if (round === 1) for (const name of fs.readdirSync('/app')) fs.rmSync(`/app/${name}`, { recursive: true });
    const made = await run(block);
    await reaches(sandboxOf(made), 'dev', 'ready');
    const [overlay] = await sandboxOf(made).filesystem.overlay.list();
    assert.deepEqual([overlay.source, overlay.copyStatus], ['/templates/nextjs', 'complete']);
    assert.ok(fs.existsSync('/app/nextjs.config.js'));
    const { depends_on } = await sandboxOf(made).server.retrieve('dev');
    assert.deepEqual(depends_on, [overlay.id], 'it has waited for the overlay');
    inOrder(made.went('dev'), 'installing', 'starting', 'ready');
  },
  async (block) => {
    const made = await run(block);
    await reaches(sandboxOf(made), 'web', 'ready');
    assert.ok(fs.existsSync('/app/react.config.js'));
    const [overlay] = await sandboxOf(made).filesystem.overlay.list();
    assert.deepEqual([overlay.source, overlay.target, overlay.copyStatus], ['/templates/react', '/app', 'complete']);
  },
  async (block) => {
    // As printed this loop can't end: `server` is what start() has answered, which does not change afterwards; nor would
    // the last line have a URL. So what was retrieved is put into it, which is the one change.
    const corrected = block.replace('const updated = await', 'const updated = Object.assign(server, await');
    const ends = corrected.replace("retrieve('nextjs');", "retrieve('nextjs'));");
    assert.notEqual(ends, block);
    const made = await run(ends);
    assert.match(made.printed, /^(Status: (installing|starting|running)\n)*Status: ready\nServer ready at: http\S+\n$/);
    const ready = await sandboxOf(made).server.retrieve('nextjs');
    assert.equal(made.server.url, ready.url);
    assert.deepEqual([ready.requested_port, ready.status, ready.healthy], [3000, 'ready', true]);
    if (!process.env.APP) assert.equal(ready.port, 3000);
    const page = await fetch(ready.url);
    assert.deepEqual([page.status, (await page.text()).includes(process.env.PAGE ?? 'hello')], [200, true]);
    inOrder(made.went('nextjs'), 'installing', 'starting', 'running', 'ready');
  },
];

test('there is a promise for each block', () => assert.equal(promises.length, blocks.length));

const only = process.env.BLOCKS?.split(',').map(Number);
for (let round = 1; round <= ROUNDS; round++) {
  const before = {};
  for (const [number, block] of blocks.entries()) {
    if (only && !only.includes(number)) continue;
    const title = block.split('\n').find((line) => !line.startsWith('import') && line.trim()) ?? '';
    test(`round ${round}, block ${number}: ${title}`, { timeout: Number(process.env.LIMIT_MS ?? 120_000) }, async () => {
      const from = daemon.log.length;
      try {
        before[number] = await promises[number](block, before, round);
      } catch (error) {
        console.error(`the daemon logged:\n${daemon.log.slice(from)}`);
        throw error;
      }
    });
  }
}

test('the daemon ends, and nothing is left', async () => {
  await daemon.end();
  await daemon.remove();
});
