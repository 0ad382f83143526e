// Real programs from npm and PyPI, made from nothing in a temporary folder: each is found where it really listens, its page
// is there, and again after a restart. `make test-slow`; needs the network.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { TOKEN, freePort, withDaemon } from '../sdk/support.js';

const NPM = 'npm install --no-audit --no-fund --loglevel=error';
const pkg = (dev, dependencies) => JSON.stringify({ private: true, scripts: { dev }, dependencies });

const APPS = {
  // It has a port of its own, tries the next ones, and listens on localhost, which may be IPv6 only.
  vite: {
    files: {
      'package.json': pkg('vite', { vite: '^7' }),
      'index.html': '<!doctype html><title>hello from Vite</title><script type="module" src="/main.js"></script>',
      'main.js': 'document.body.append("hello");',
    },
    install: NPM,
    start: 'npm run dev',
    says: /Local:.*http:\/\/localhost:.*?(\d+)/,
    text: 'hello from Vite',
  },
  // In an application of its own: Vite's update channel listens on 24678 first, and answers no request.
  middleware: {
    files: {
      'package.json': pkg('node server.mjs', { vite: '^7', express: '*' }),
      'index.html': '<!doctype html><title>hello from middleware</title>',
      'server.mjs': `
        import express from 'express';
        import { createServer } from 'vite';
        const app = express();
        const vite = await createServer({ server: { middlewareMode: true }, appType: 'spa' });
        app.use(vite.middlewares);
        app.listen(process.env.PORT);`,
    },
    install: NPM,
    start: 'npm run dev',
    health_check: {},
    text: 'hello from middleware',
  },
  // Its page is compiled at the first request. The options are those of the docs' last example.
  next: {
    files: {
      'package.json': pkg('next dev', { next: '*', react: '*', 'react-dom': '*' }),
      'pages/index.js': 'export default function Home() { return <p>hello from Next</p>; }',
    },
    install: NPM,
    start: 'npm run dev',
    environment: { NODE_ENV: 'development', NEXT_TELEMETRY_DISABLED: '1' },
    health_check: { path: '/', interval_ms: 5000, timeout_ms: 3000, delay_ms: 5000 },
    text: 'hello from Next',
  },
  express: {
    files: {
      'package.json': pkg('node server.js', { express: '*' }),
      'server.js': `
        const app = require('express')();
        app.get('/', (req, res) => res.send('hello from Express'));
        app.get('/health', (req, res) => res.status(200).json({ status: 'ok' }));
        app.listen(process.env.PORT);`,
    },
    install: NPM,
    start: 'npm run dev',
    health_check: { path: '/health' },
    text: 'hello from Express',
  },
  // With its reloader: a parent that watches, and a child that has the socket too.
  flask: {
    files: {
      'requirements.txt': 'flask\n',
      'app.py': 'from flask import Flask\napp = Flask(__name__)\n\n@app.get("/")\ndef home():\n    return "hello from Flask"\n',
    },
    install: 'python3 -m venv .venv && .venv/bin/pip install --quiet -r requirements.txt',
    start: '.venv/bin/flask run --debug --port $PORT',
    text: 'hello from Flask',
  },
  files: {
    files: { 'index.html': 'hello from http.server' },
    start: 'python3 -m http.server $PORT',
    text: 'hello from http.server',
  },
};

for (const [slug, { files, says, text, ...options }] of Object.entries(APPS)) {
  test(slug, withDaemon(async ({ daemon, sandbox, root }) => {
    for (const [name, content] of Object.entries(files)) {
      const file = path.join(root, slug, name);
      fs.mkdirSync(path.dirname(file), { recursive: true });
      fs.writeFileSync(file, content);
    }
    const port = await freePort();
    const begun = Date.now();
    const first = await sandbox.server.start({ slug, path: slug, port, ...options });
    assert.equal(first.status, options.install ? 'installing' : 'starting');

    const check = async () => {
      const { data: { server } } = await ready(daemon, slug);
      const { logs } = await sandbox.server.logs(slug);
      assert.equal(server.status, 'ready', `${server.status_reason}\n${logs}`);
      const said = says && logs.replace(/\x1b\[\d*m/g, '').match(says);
      assert.equal(server.port, says ? Number(said[1]) : port);
      assert.equal(server.url, `http://localhost:${server.port}`);
      if (options.health_check) assert.equal(server.healthy, true);
      const page = await fetch(server.url);
      assert.equal(page.status, 200);
      assert.ok((await page.text()).includes(text));
      return server;
    };
    const server = await check();
    const installed = Date.parse(server.started_at) - begun;
    const came = Date.parse(server.ready_at) - Date.parse(server.started_at);
    assert.equal((await sandbox.server.restart(slug)).status, 'starting');
    const again = await check();
    assert.notEqual(again.pid, server.pid);
    const cameAgain = Date.parse(again.ready_at) - Date.parse(again.started_at);
    console.log(`${slug}: installed in ${installed} ms, ready after ${came} ms on port ${server.port}, again after ${cameAgain} ms`);
  }));
}

/** The server when it is ready or can't be any more; the install may take its minutes. */
async function ready(daemon, slug) {
  const headers = { Authorization: `Bearer ${TOKEN}` };
  const response = await fetch(`${daemon.url}/servers/${slug}?wait_for=ready&timeout_ms=280000`, { headers });
  assert.equal(response.status, 200);
  return response.json();
}
