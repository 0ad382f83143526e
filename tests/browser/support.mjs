// A daemon and a browser for the tests of the status page, and what has to hold in each of them: no violation of the page's
// policy, requests only to the daemon, no error of the script, no dialog of the browser.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { test } from 'node:test';
import { chromium } from 'playwright-core';

export const TOKEN = 'page-test-token';
export const SHOTS = join(import.meta.dirname, '../../target/browser');
/** How long a fact may take to come true, in ms. Nothing takes so long by itself. */
export const LIMIT = 20_000;
const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync'];

/** Waits until `probe` gives something that is true, and returns it. */
export async function until(fact, probe, limit = LIMIT) {
  const deadline = performance.now() + limit;
  for (;;) {
    const value = await probe();
    if (value) return value;
    assert.ok(performance.now() < deadline, `still waiting for: ${fact}`);
    await pause(10);
  }
}

export class Daemon {
  static async start(options = []) {
    const daemon = new Daemon();
    daemon.scratch = mkdtempSync(join(tmpdir(), 'servisor-page-'));
    daemon.options = options;
    await daemon.boot(0);
    return daemon;
  }

  async boot(port = this.port) {
    const token = this.options.includes('--no-auth') ? {} : { SERVISOR_ACCESS_TOKEN: TOKEN };
    this.process = spawn(
      process.env.SERVISOR_BIN ?? join(import.meta.dirname, '../../target/debug/servisor'),
      ['serve', '--listen', `127.0.0.1:${port}`, '--root', this.scratch, '--state-dir', join(this.scratch, '.state'), ...this.options],
      { env: { PATH: process.env.PATH, ...token }, stdio: ['ignore', 'ignore', 'pipe'] },
    );
    for await (const line of createInterface({ input: this.process.stderr })) {
      const found = /listening on http:\/\/[^:]*:(\d+)/.exec(line);
      if (found) {
        this.port = Number(found[1]);
        break;
      }
    }
    this.process.stderr.resume();
    this.origin = `http://127.0.0.1:${this.port}`;
  }

  async api(method, path, body) {
    const answer = await fetch(this.origin + path, {
      method,
      headers: { Authorization: `Bearer ${TOKEN}`, 'Content-Type': 'application/json' },
      body: body && JSON.stringify(body),
    });
    const text = await answer.text();
    assert.ok(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text).data : null;
  }

  /** Starts a server and returns it. */
  async server(slug, start = 'exec sleep 600', more = {}) {
    return (await this.api('POST', '/servers', { slug, start, ...more })).server;
  }

  async info(slug) {
    return (await this.api('GET', `/servers/${slug}`)).server;
  }

  async end() {
    if (this.process.exitCode !== null) return;
    this.process.kill('SIGTERM');
    await once(this.process, 'exit');
  }

  async remove() {
    await this.end();
    rmSync(this.scratch, { recursive: true, force: true });
  }
}

let browser;

/** `body({ daemon, page, open })` as a test with a daemon and a browser's page of its own. */
export function pageTest(name, { options, context: given, ...settings } = {}, body) {
  test(name, { timeout: 120_000, ...settings }, async () => {
    browser ??= await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: FLAGS });
    const daemon = await Daemon.start(options);
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...given });
    try {
      const page = await context.newPage();
      const seen = watch(context, page);
      page.setDefaultTimeout(LIMIT);
      const open = (hash = `#token=${TOKEN}`) => page.goto(`${daemon.origin}/ui${hash}`);
      await body({ daemon, page, open, context });
      assert.deepEqual(seen.faults, []);
      assert.deepEqual(seen.requests.filter((url) => !url.startsWith(`${daemon.origin}/`) && !url.startsWith('data:')), []);
    } finally {
      await context.close();
      await daemon.remove();
    }
  });
}

/** Ends the browser after the last test of a file. */
export const closeBrowser = () => browser?.close();

function watch(context, page) {
  const seen = { faults: [], requests: [] };
  page.on('request', (request) => seen.requests.push(request.url()));
  context.on('weberror', (error) => seen.faults.push(`error: ${error.error().stack}`));
  context.on('dialog', (dialog) => {
    seen.faults.push(`dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  // Chromium reports each violation of the policy here too.
  context.on('console', (message) => {
    if (!/Failed to load resource|ERR_/.test(message.text())) seen.faults.push(`console: ${message.text()}`);
  });
  return seen;
}

export const row = (page, slug) => page.locator('#rows tr', { has: page.locator('.name', { hasText: new RegExp(`^${slug}$`) }) });

/** Waits until the row of `slug` has this text. */
export const rowHas = (page, slug, text, timeout = LIMIT) => row(page, slug).filter({ hasText: text }).waitFor({ timeout });

export async function shot(page, name) {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`) });
}
