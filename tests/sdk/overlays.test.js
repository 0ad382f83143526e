// Templates: `sandbox.filesystem.overlay`, servers that wait for them, and the last two sections of the docs' chapter.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { encodeSetupPayload } from 'computesdk';
import { ask, install, logged, reaches, until, withDaemon } from './support.js';

/** Removed with the tests' process: each test has templates of its own in it. */
const TEMPLATES = fs.mkdtempSync(path.join(fs.realpathSync(os.tmpdir()), 'servisor-templates-'));
process.on('exit', () => fs.rmSync(TEMPLATES, { recursive: true, force: true }));

/** The app of `apps/node` as a template, with dependencies in it. */
function template(name, packages = 20) {
  const top = install(TEMPLATES, 'node', name);
  for (let number = 0; number < packages; number++) put(top, `node_modules/p${number}.js`, `// ${number}\n`);
  return top;
}

const files = (top) => fs.readdirSync(top, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).length;

function put(top, file, content) {
  fs.mkdirSync(path.dirname(path.join(top, file)), { recursive: true });
  fs.writeFileSync(path.join(top, file), content);
}

const read = (...parts) => fs.readFileSync(path.join(...parts), 'utf8');

/** Asserts that `promise` fails with a message that has all of `parts` in it. */
async function fails(promise, ...parts) {
  const { message } = await promise.then(() => assert.fail('no error'), (error) => error);
  for (const part of parts) assert.ok(message.includes(part), `${JSON.stringify(part)} is not in: ${message}`);
}

test('create, list, retrieve, destroy', withDaemon(async ({ sandbox, root }) => {
  const { overlay } = sandbox.filesystem;
  const source = template('first');
  assert.deepEqual(await overlay.list(), []);
  const made = await overlay.create({ source, target: 'project' });
  assert.deepEqual([made.source, made.target, made.strategy], [source, 'project', 'smart']);
  assert.match(made.createdAt, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  // It can be used at the answer.
  assert.equal(read(root, 'project/server.js'), read(source, 'server.js'));
  assert.equal(fs.readdirSync(path.join(root, 'project/node_modules')).length, 20);

  const done = await overlay.waitForCompletion(made.id, { initialDelayMs: 10 });
  assert.equal(done.copyStatus, 'complete');
  assert.equal(done.copyError, undefined);
  assert.ok(!fs.lstatSync(path.join(root, 'project/node_modules')).isSymbolicLink());
  assert.deepEqual(await overlay.retrieve(made.id), done);
  assert.deepEqual(await overlay.list(), [done]);

  assert.equal(await overlay.destroy(made.id), undefined);
  assert.deepEqual(await overlay.list(), []);
  assert.equal(read(root, 'project/node_modules/p3.js'), '// 3\n', 'what was copied stays');
}));

for (const strategy of ['smart', 'copy']) {
  test(`waitForCompletion, ignore and what is counted: ${strategy}`, withDaemon(async ({ sandbox, root }) => {
    const source = template(`counted-${strategy}`);
    const plain = files(source);
    for (const file of ['.git/HEAD', 'debug.log', 'src/deep/trace.log', 'src/app.test.js', 'src/app.js']) put(source, file, file);
    put(root, 'app/src/app.js', 'mine');
    const ignore = ['*.log', '**/*.test.js'];
    const options = { source, target: 'app', strategy, ignore };
    const made = await sandbox.filesystem.overlay.create({ ...options, waitForCompletion: true });
    assert.deepEqual([made.copyStatus, made.strategy], ['complete', strategy]);
    assert.deepEqual(made.stats.skipped.toSorted(),
      ['.git', 'debug.log', 'src/app.js', 'src/app.test.js', 'src/deep/trace.log']);
    assert.equal(made.stats.copiedFiles, plain);
    assert.equal(read(root, 'app/src/app.js'), 'mine', 'what is there is never touched');
    assert.ok(!fs.existsSync(path.join(root, 'app/.git')) && !fs.existsSync(path.join(root, 'app/debug.log')));

    const waitForCompletion = { maxRetries: 200, initialDelayMs: 20, maxDelayMs: 100, backoffFactor: 1.2 };
    const again = await sandbox.filesystem.overlay.create({ source, target: 'other', strategy, waitForCompletion });
    assert.deepEqual([again.copyStatus, again.stats.skipped], ['complete', ['.git']]);
    assert.equal(read(root, 'other/src/deep/trace.log'), 'src/deep/trace.log');
  }));
}

test('an inline overlay with server.start', withDaemon(async ({ daemon, sandbox }) => {
  // The docs' /templates/react and /app, in directories that are ours.
  const react = template('react');
  const app = path.join(daemon.scratch, 'app');
  const server = await sandbox.server.start({
    slug: 'web',
    start: 'npm run dev',
    path: app,
    overlay: {
      source: react,
      target: app,
      strategy: 'smart',
    },
  });
  assert.ok(['installing', 'starting'].includes(server.status), server.status);
  assert.equal(server.depends_on.length, 1);
  const { port } = await reaches(sandbox, 'web', 'ready');
  assert.equal(await ask(port), 'hello');
  const [overlay] = await sandbox.filesystem.overlay.list();
  assert.deepEqual([overlay.id, overlay.target, overlay.copyStatus], [server.depends_on[0], app, 'complete']);
}));

test('depends_on', withDaemon(async ({ sandbox, root }) => {
  const { overlay } = sandbox.filesystem;
  const [code, data] = [template('code'), path.join(TEMPLATES, 'data')];
  put(data, 'seed.txt', 'seeded');
  const ids = [await overlay.create({ source: code, target: 'app', strategy: 'copy' }),
    await overlay.create({ source: data, target: 'app/data' })].map(({ id }) => id);
  const server = await sandbox.server.start({
    slug: 'web', path: 'app', install: 'cat data/seed.txt; ls node_modules | wc -l', start: 'npm run dev', depends_on: ids,
  });
  assert.deepEqual(server.depends_on, ids);
  const { port } = await reaches(sandbox, 'web', 'ready');
  assert.equal(await ask(port), 'hello');
  assert.match(await logged(sandbox, 'web', 'listening on'), /^seeded20\n/, 'both were complete before the install');
  assert.ok(fs.existsSync(path.join(root, 'app/data/seed.txt')));
}));

test('servers and overlays at creation, at every boot of the same sandbox', async () => {
  const nextjs = template('nextjs', 500);
  // The docs' `compute.sandbox.create({overlays, servers})`; what it hands to the sandbox is made by this.
  const payload = encodeSetupPayload({
    overlays: [{
      source: nextjs,
      target: 'app',
      strategy: 'smart',
    }],
    servers: [{
      slug: 'dev',
      install: 'find . -type l | wc -l; test -e node_modules/p499.js; touch node_modules/added',
      start: 'npm run dev',
      path: 'app',
      health_check: { path: '/' },
    }, {
      slug: 'web',
      install: 'echo installed >> installs',
      start: 'npm run dev',
      path: 'app',
      restart_policy: 'on-failure',
      health_check: {
        path: '/',
        interval_ms: 5000,
      },
    }],
  });
  await withDaemon(async ({ daemon, root }) => {
    const check = async (page) => {
      const ready = await until('all is ready', async () => {
        const ready = await daemon.sandbox().ready();
        return ready.ready && ready.healthy && ready;
      });
      const [overlay] = ready.overlays;
      assert.deepEqual(ready.overlays, [{ id: overlay.id, source: nextjs, target: 'app', copy_status: 'complete' }]);
      assert.deepEqual(ready.servers.map(({ slug, status }) => [slug, status]), [['dev', 'ready'], ['web', 'ready']]);
      for (const { url } of ready.servers) assert.equal(await (await fetch(url)).text(), page);
      return overlay.id;
    };
    const id = await check('hello');
    assert.match((await daemon.sandbox().server.logs('dev')).logs, /^0\n/, 'nothing points out of the target');
    assert.ok(fs.existsSync(path.join(root, 'app/node_modules/added')));
    assert.ok(!fs.existsSync(path.join(nextjs, 'node_modules/added')), 'the template stays as it was');

    put(root, 'app/server.js', read(root, 'app/server.js').replace('hello', 'edited'));
    fs.rmSync(path.join(root, 'app/node_modules/p7.js'));
    for (const signal of ['SIGKILL', 'SIGTERM']) {
      daemon.process.kill(signal);
      await daemon.ended;
      await daemon.boot();
      assert.equal(await check('edited'), id);
      assert.ok(!fs.existsSync(path.join(root, 'app/node_modules/p7.js')), 'what the user removed stays removed');
      assert.equal(read(root, 'app/installs'), 'installed\n');
    }
    const server = await daemon.sandbox().server.retrieve('web');
    assert.deepEqual(server.depends_on, [id]);
  }, { COMPUTESDK_SETUP_B64: payload })();
});

test('what the user sees when it can not be', withDaemon(async ({ daemon, sandbox, root }) => {
  const { overlay } = sandbox.filesystem;
  const source = template('refused', 2);
  const missing = path.join(TEMPLATES, 'no-such-template');
  await fails(overlay.create({ source: missing, target: 'app' }), '(422)', 'source', missing, 'must exist');
  await fails(overlay.create({ source: 'templates/react', target: 'app' }), '(422)', 'source', 'absolute', 'templates/react');
  await fails(overlay.create({ source, target: '../app' }), '(422)', 'target', '../app');
  fs.symlinkSync(daemon.scratch, path.join(root, 'out'));
  await fails(overlay.create({ source, target: 'out/app' }), '(422)', 'target', 'inside the root', 'leads to');
  await fails(overlay.create({ source, target: 'app', strategy: 'fast' }), '(422)', 'strategy', '"smart"', '"copy"');
  await fails(overlay.retrieve('0123456789'), '(404)', '0123456789', 'GET /filesystem/overlays');
  await fails(overlay.destroy('0123456789'), '(404)', '0123456789');
  const start = (options) => sandbox.server.start({ slug: 'web', start: 'sleep 1000', ...options });
  await fails(start({ depends_on: ['0123456789'] }), '(422)', 'depends_on', '0123456789');
  await fails(start({ overlay: { source: missing, target: 'app' } }), '(422)', 'source', missing);
  assert.deepEqual([await overlay.list(), await sandbox.server.list()], [[], []]);
  assert.deepEqual(fs.readdirSync(root), ['out']);

  // What shows only later.
  const nowhere = { source, target: '/proc/no-place-for-an-app' };
  await fails(overlay.create({ ...nowhere, waitForCompletion: true }), 'Overlay copy failed', nowhere.target);
  await start({ overlay: nowhere });
  const failed = await reaches(sandbox, 'web', 'failed');
  assert.ok(failed.status_reason.includes(nowhere.target), failed.status_reason);
}));

test('an overlay that a server waits for', withDaemon(async ({ sandbox }) => {
  const { overlay } = sandbox.filesystem;
  // To copy these takes many times as long as the calls below.
  const source = template('large', 20_000);
  const { id } = await overlay.create({ source, target: 'app', strategy: 'copy' });
  const server = await sandbox.server.start({ slug: 'web', start: 'sleep 1000', path: 'app', depends_on: [id] });
  assert.equal(server.status, 'installing');
  await fails(overlay.destroy(id), '(409)', id, '"web"');
  await sandbox.server.stop('web');
  await overlay.destroy(id);
  await fails(sandbox.server.restart('web').then(() => reaches(sandbox, 'web', 'failed'))
    .then(({ status_reason }) => { throw new Error(status_reason); }), id);
}));
