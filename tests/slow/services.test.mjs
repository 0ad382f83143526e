// Programs that write over their environment and fork masters and workers: nginx, redis, PostgreSQL, gunicorn, each from
// Debian. A stop, a restart, a DELETE and the next start after `kill -9` of the daemon leave no process of them and give the
// port back, also where the daemon is PID 1. `make test-slow`; needs root.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { Daemon, TOKEN, freePort, until } from '../sdk/support.js';

const NOBODY = 65534;
const AS_NOBODY = `setpriv --reuid ${NOBODY} --regid ${NOBODY} --clear-groups`;
const postgres = () => fs.readdirSync('/usr/lib/postgresql').map((version) => `/usr/lib/postgresql/${version}/bin`).at(-1);

// `most` is how many processes there are of it.
const SERVICES = {
  nginx: {
    most: 4,
    start: () => 'exec nginx -p . -c nginx.conf',
    files: (port) => ({
      'nginx.conf': `daemon off; user nobody nogroup; worker_processes 3; pid nginx.pid; error_log stderr;
        events {} http { access_log off; server { listen 127.0.0.1:${port}; location / { return 200 'hello'; } } }`,
    }),
    title: /^nginx: (master|worker) process/,
  },
  // A daemon as its own packages start it: it leaves group, session and output.
  'nginx-daemon': {
    most: 4,
    start: () => 'nginx -p . -c nginx.conf; exec sleep 1000',
    files: (port) => ({
      'nginx.conf': `user nobody nogroup; worker_processes 2; pid nginx.pid; error_log /dev/null;
        events {} http { access_log off; server { listen 127.0.0.1:${port}; location / { return 200 'hello'; } } }`,
    }),
    title: /^nginx: (master|worker) process/,
  },
  redis: {
    most: 1,
    start: (port) => `exec redis-server --port ${port} --bind 127.0.0.1 --save '' --set-proc-title yes`,
    title: /^redis-server /,
  },
  'redis-daemon': {
    most: 2,
    start: (port) => `redis-server --port ${port} --bind 127.0.0.1 --save '' --daemonize yes; exec sleep 1000`,
    title: /^redis-server /,
  },
  postgres: {
    most: 6,
    install: () => `chown ${NOBODY} . && ${AS_NOBODY} ${postgres()}/initdb -D data --no-sync -A trust -U me`,
    start: (port) => `exec ${AS_NOBODY} ${postgres()}/postgres -D data -p ${port} -h 127.0.0.1 -k .`,
    title: /^postgres: /,
  },
  // What `pg_ctl` starts is its orphan, of another user, in a session of its own, with its output in a file.
  'postgres-daemon': {
    most: 8,
    install: () => `chown ${NOBODY} . && ${AS_NOBODY} ${postgres()}/initdb -D data --no-sync -A trust -U me`,
    start: (port) => `${AS_NOBODY} ${postgres()}/pg_ctl -D data -l data/log -o '-p ${port} -h 127.0.0.1 -k .' start; exec sleep 1000`,
    title: /^postgres: /,
  },
  gunicorn: {
    most: 4,
    start: (port) => `exec gunicorn --bind 127.0.0.1:${port} --workers 3 --worker-tmp-dir /dev/shm app:app`,
    files: () => ({ 'app.py': 'def app(environ, start):\n    start("200 OK", [])\n    return [b"hello"]\n' }),
    title: /^gunicorn: (master|worker)/,
  },
};

/** The processes with their working directory in `root`, with what they call themselves. */
function processes(root) {
  const found = [];
  for (const pid of fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const directory = fs.readlinkSync(`/proc/${pid}/cwd`);
      if (!directory.startsWith(`${root}/`)) continue;
      found.push(fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim());
    } catch {
      // It has ended.
    }
  }
  return found;
}

const connects = (port) => new Promise((resolve) => {
  const socket = net.connect(port, '127.0.0.1', () => { socket.destroy(); resolve(true); });
  socket.on('error', () => resolve(false));
});

const bindable = (port) => new Promise((resolve) => {
  const server = net.createServer().listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  server.on('error', () => resolve(false));
});

for (const place of ['child', 'PID 1']) {
  for (const [slug, service] of Object.entries(SERVICES)) {
    test(`${slug} under a daemon that is a ${place}`, async () => {
      const wrapper = place === 'child' ? [] : ['unshare', '--pid', '--fork', '--kill-child', '--mount-proc'];
      const daemon = await Daemon.start({}, wrapper);
      try {
        fs.chmodSync(daemon.scratch, 0o755);
        const port = await freePort();
        const folder = path.join(daemon.root, slug);
        fs.mkdirSync(folder);
        for (const [name, text] of Object.entries(service.files?.(port) ?? {})) fs.writeFileSync(path.join(folder, name), text);
        const ask = async (method, target, body) => {
          const headers = { Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'application/json' };
          const response = await fetch(daemon.url + target, { method, headers, body: body && JSON.stringify(body) });
          assert.ok(response.ok, `${method} ${target}: ${response.status} ${await response.clone().text()}`);
          assert.notEqual(response.status, 202, `${method} ${target} takes too long`);
        };
        const spec = { slug, path: slug, port, start: service.start(port), install: service.install?.(), stop_timeout_ms: 8000 };
        const up = () => until(`${slug} is up`, async () => await connects(port)
          && processes(daemon.root).some((title) => service.title.test(title)));
        const gone = async (after) => {
          assert.deepEqual(processes(daemon.root), [], `left after ${after}`);
          assert.ok(await bindable(port), `the port after ${after}`);
        };
        await ask('POST', '/servers', spec);
        await up();
        await ask('POST', `/servers/${slug}/stop`);
        await gone('stop');
        await ask('POST', `/servers/${slug}/start`);
        await up();
        await ask('POST', `/servers/${slug}/restart`);
        await up();
        await until('there is one of it', () => processes(daemon.root).length <= service.most);
        if (place === 'child') {
          daemon.process.kill('SIGKILL');
          await daemon.ended;
          assert.ok(await connects(port), 'a killed daemon ends no server');
          await daemon.boot();
          await up();
          await until('there is one of it again', () => processes(daemon.root).length <= service.most);
        }
        await ask('DELETE', `/servers/${slug}`);
        await gone('DELETE');
      } catch (error) {
        console.error(`the daemon logged:\n${daemon.log}`);
        throw error;
      } finally {
        await daemon.remove();
      }
    });
  }
}
