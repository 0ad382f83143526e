// A daemon for one test, the client pointed at it, and how to wait for facts.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';
import { Sandbox } from 'computesdk';
import WebSocket from 'ws';

const BINARY = process.env.SERVISOR_BIN
  ?? path.join(import.meta.dirname, '../../target/debug/servisor');
const APPS = path.join(import.meta.dirname, 'apps');
export const TOKEN = 'the-access-token';
/** How long a fact may take to come true before the test fails, in ms. Nothing takes so long by itself. */
const LIMIT = 20_000;

/** Waits until `probe` gives something that is true, and returns it. */
export async function until(fact, probe) {
  const deadline = Date.now() + LIMIT;
  for (;;) {
    const value = await probe();
    if (value) return value;
    assert.ok(Date.now() < deadline, `still waiting for: ${fact}`);
    await pause(10);
  }
}

/** `body({ daemon, sandbox, root })` as a test with a daemon of its own, which must leave nothing behind. */
export function withDaemon(body, variables) {
  return async () => {
    const daemon = await Daemon.start(variables);
    try {
      await body({ daemon, sandbox: daemon.sandbox(), root: daemon.root });
      await daemon.end();
    } catch (error) {
      console.error(`the daemon logged:\n${daemon.log}`);
      throw error;
    } finally {
      await daemon.remove();
    }
  };
}

/** The daemons that run. Should the tests be broken off, they end their servers and themselves. */
const living = new Set();
process.prependListener('exit', () => living.forEach((daemon) => daemon.kill('SIGTERM')));
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.prependListener(signal, () => process.exit(1));
// The parent of the tests is gone.
process.stdout.on('error', () => process.exit(1));

export class Daemon {
  log = '';

  /**
   * With `variables` over its usual environment; they can be changed before another `boot`. `wrapper` is a program, with
   * arguments, that runs it.
   */
  static async start(variables = {}, wrapper = []) {
    const daemon = new Daemon();
    daemon.variables = variables;
    daemon.wrapper = wrapper;
    daemon.scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'servisor-sdk-'));
    daemon.root = path.join(daemon.scratch, 'root');
    fs.mkdirSync(daemon.root);
    try {
      await daemon.boot();
    } catch (error) {
      await daemon.remove();
      throw error;
    }
    return daemon;
  }

  /** Starts it on what an earlier one left in root and state directory. */
  async boot() {
    const options = ['--listen', '127.0.0.1:0', '--root', this.root, '--state-dir', path.join(this.scratch, 'state')];
    const stdio = ['ignore', 'inherit', 'pipe'];
    const [program, ...words] = [...this.wrapper, BINARY, 'serve', ...options];
    this.process = spawn(program, words, { env: this.#environment(), stdio });
    this.ended = once(this.process, 'exit');
    living.add(this.process);
    this.ended.then(() => living.delete(this.process));
    const lines = createInterface({ input: this.process.stderr });
    this.url = await new Promise((resolve, reject) => {
      lines.on('line', (line) => {
        this.log += `${line}\n`;
        const address = line.match(/listening on (http:\S+)/);
        if (address) resolve(address[1]);
      });
      this.process.on('error', reject);
      lines.on('close', () => reject(new Error(`the daemon did not start:\n${this.log}`)));
    });
  }

  /** Without the variables that could change what the daemon does; with a mark for all that descends from it. */
  #environment() {
    const foreign = /^(SERVISOR|COMPUTESDK|npm|NODE_TEST)_|^(PORT|NODE_OPTIONS|NODE_ENV|PYTHONUNBUFFERED)$/;
    const kept = Object.entries(process.env).filter(([name]) => !foreign.test(name));
    return { ...Object.fromEntries(kept), SERVISOR_ACCESS_TOKEN: TOKEN, TEST_MARK: this.scratch, ...this.variables };
  }

  /** The client. `config` may bring another token, or none. */
  sandbox(config = {}) {
    const sandboxUrl = this.url;
    return new Sandbox({ sandboxUrl, sandboxId: 'local', provider: 'servisor', token: TOKEN, WebSocket, ...config });
  }

  /** Ends it as an init system would: it has to exit with 0 and leave nothing. */
  async end() {
    this.process.kill('SIGTERM');
    const giveUp = setTimeout(() => this.process.kill('SIGKILL'), LIMIT);
    const [code, signal] = await this.ended;
    clearTimeout(giveUp);
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, 'how the daemon ended');
    assert.deepEqual(this.descendants(), [], 'what the daemon left behind');
  }

  /** All processes that carry its mark, but for itself. Also those that it did not start by its own hand. */
  descendants() {
    const mark = `TEST_MARK=${this.scratch}`;
    return fs.readdirSync('/proc').filter((name) => /^\d+$/.test(name) && Number(name) !== this.process.pid)
      .filter((pid) => read(`/proc/${pid}/environ`).split('\0').includes(mark))
      .map((pid) => ({ pid: Number(pid), command: read(`/proc/${pid}/cmdline`).replaceAll('\0', ' ') }));
  }

  /** Whatever became of the test, its processes and its files go. */
  async remove() {
    if (this.process.exitCode === null && this.process.signalCode === null && this.process.pid) {
      this.process.kill('SIGKILL');
      await this.ended;
    }
    for (const { pid } of this.descendants()) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It was faster.
      }
    }
    fs.rmSync(this.scratch, { recursive: true, force: true, maxRetries: 3 });
  }
}

/** The text of a file that may go away at any time. */
function read(file) {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

/** Puts one of the programs of `apps` into the root, and says where. */
export function install(root, app, name = app) {
  const target = path.join(root, name);
  fs.cpSync(path.join(APPS, app), target, { recursive: true });
  return target;
}

/**
 * The next port to give. Below those that the system gives to outgoing connections, and another range for each process:
 * no process takes one by chance between its being found free and its being used.
 */
let next = 12_000 + (process.pid % 180) * 100;

/** A port that nothing listens on, with some free ones above it. */
export async function freePort() {
  for (;;) {
    const port = next;
    next += 3;
    const free = await Promise.all([port, port + 1, port + 2].map(canListen));
    if (free.every(Boolean)) return port;
  }
}

/** Whether a port can be listened on now. */
export async function canListen(port) {
  const listener = await listen(port).catch(() => null);
  if (!listener) return false;
  await close(listener);
  return true;
}

/** Holds a port. */
export async function listen(port) {
  const listener = net.createServer().listen(port, '127.0.0.1');
  await once(listener, 'listening');
  return listener;
}

export async function close(listener) {
  listener.close();
  await once(listener, 'close');
}

/** What the server on `port` answers; waits until it does. */
export async function ask(port, question = '/') {
  const once = () => fetch(`http://127.0.0.1:${port}${question}`, { signal: AbortSignal.timeout(LIMIT) });
  const response = await until(`an answer from port ${port}`, () => once().catch(() => null));
  return response.text();
}

/** Waits until a server has one of these statuses, and returns it. */
export function reaches(sandbox, slug, ...statuses) {
  return until(`${slug} is ${statuses.join(' or ')}`, async () => {
    const server = await sandbox.server.retrieve(slug);
    return statuses.includes(server.status) && server;
  });
}

/** Waits until the logs of a server have `text` in them, and returns them. */
export function logged(sandbox, slug, text, options) {
  return until(`${JSON.stringify(text)} in the logs of ${slug}`, async () => {
    const { logs } = await sandbox.server.logs(slug, options);
    return logs.includes(text) && logs;
  });
}

/** Whether a process exists; one that is only waiting for its parent does. */
export function exists(pid) {
  return fs.existsSync(`/proc/${pid}`);
}
