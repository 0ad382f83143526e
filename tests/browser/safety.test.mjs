// What the status page gives away and lets in: nothing. Its headers, hostile texts, and pages of managed servers.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { request } from 'node:http';
import { after, test } from 'node:test';
import { Daemon, TOKEN, closeBrowser, pageTest, row, rowHas, until } from './support.mjs';

after(closeBrowser);

/** A request with exactly these headers: `fetch` does not let `Host` be chosen. */
function ask(daemon, path, headers = {}, method = 'GET') {
  return new Promise((done, fail) => {
    const sent = request({ host: '127.0.0.1', port: daemon.port, path, method, headers }, (answer) => {
      const parts = [];
      answer.on('data', (part) => parts.push(part));
      answer.on('end', () => done({ status: answer.statusCode, headers: answer.headers, text: Buffer.concat(parts).toString() }));
    });
    sent.on('error', fail);
    sent.end();
  });
}

test('the page has its headers, its size and its hashes, under a name of the daemon only', async () => {
  const daemon = await Daemon.start();
  try {
    const { status, headers, text } = await ask(daemon, '/ui');
    assert.equal(status, 200);
    assert.ok(Buffer.byteLength(text) <= 24 * 1024, `${Buffer.byteLength(text)} bytes`);
    const hash = (tag) => createHash('sha256').update(new RegExp(`<${tag}>([^]*)</${tag}>`).exec(text)[1]).digest('base64');
    assert.equal(headers['content-security-policy'], "default-src 'none'; "
      + `style-src 'sha256-${hash('style')}'; script-src 'sha256-${hash('script')}'; connect-src 'self'; img-src data:; base-uri 'none'; `
      + "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'");
    for (const [name, value] of [
      ['content-type', 'text/html; charset=utf-8'], ['x-content-type-options', 'nosniff'], ['referrer-policy', 'no-referrer'],
      ['cross-origin-opener-policy', 'same-origin'], ['cache-control', 'no-cache'],
    ]) assert.equal(headers[name], value);
    assert.ok(!text.includes(TOKEN));
    assert.equal((await ask(daemon, '/ui', {}, 'HEAD')).status, 200);
    for (const host of ['evil.example', `evil.example:${daemon.port}`, '192.0.2.1']) {
      assert.equal((await ask(daemon, '/ui', { Host: host })).status, 403, host);
    }
    for (const accept of ['text/html', 'text/html,application/xhtml+xml;q=0.9,*/*;q=0.8']) {
      const led = await ask(daemon, '/', { Accept: accept });
      assert.deepEqual([led.status, led.headers.location], [302, '/ui']);
    }
    for (const accept of ['*/*', 'application/json', 'text/html;q=0']) assert.equal((await ask(daemon, '/', { Accept: accept })).status, 404);
  } finally {
    await daemon.remove();
  }
});

const HOSTILE = '<img src=x onerror="alert(1)"><script>alert(2)</script>"\'><svg onload=alert(3)>\u202e\u001b[31m';

pageTest('hostile texts of real servers stay text', {}, async ({ daemon, page, open }) => {
  const printed = `printf '%s\\n' '${HOSTILE.replaceAll("'", "'\\''")}'`;
  await daemon.server('prints', `${printed}; ${printed} >&2; exit 3`, { environment: { '<b>NAME</b>': HOSTILE } });
  await daemon.api('POST', '/servers', { slug: 'reason', start: 'true', path: `/${HOSTILE}`, install: 'true' }).catch(() => {});
  await open();
  await rowHas(page, 'prints', 'failed');
  await page.click('.name:text-is("prints")');
  await until('the log', async () => (await page.locator('#log > div').count()) === 2);
  assert.match(await page.locator('#log > div').first().textContent(), /^<img src=x onerror="alert\(1\)"><script>/);
  await page.click('#tabs >> text=Runs');
  await page.locator('#runs pre', { hasText: '<img src=x' }).waitFor();
  await page.click('#tabs >> text=Configuration');
  await page.getByRole('button', { name: 'Show <b>NAME</b>' }).click();
  await page.locator('#config', { hasText: 'environment <b>NAME</b>hide <img src=x' }).waitFor();
  assert.equal(await page.locator('img, iframe, script:not(body > script), svg[onload], b:has-text("NAME")').count(), 0);
});

pageTest('hostile texts in every field of an answer stay text, and links lead to http alone', {}, async ({ page, open }) => {
  const server = {
    slug: HOSTILE, status: HOSTILE, status_reason: HOSTILE, url: 'javascript:alert(4)', start: HOSTILE, environment: { [HOSTILE]: HOSTILE },
    health_status: HOSTILE, health: { last_status: HOSTILE, last_error: HOSTILE }, pid: HOSTILE, port: HOSTILE, restart_count: HOSTILE, more: { [HOSTILE]: [HOSTILE] },
  };
  const safe = { slug: 'safe', status: 'ready', url: 'http://localhost:1/?"><img>', environment: {} };
  const run = { run: 1, kind: HOSTILE, started_at: HOSTILE, ended_at: HOSTILE, reason: HOSTILE, sentence: HOSTILE, next: HOSTILE, tail: [{ stream: HOSTILE, line: HOSTILE }] };
  const events = (...all) => ({ contentType: 'text/event-stream', body: all.map(([event, data]) => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`).join('') });
  await page.route('**/events', (route) => route.fulfill(events(['snapshot', { servers: [server, safe] }])));
  await page.route('**/logs?*', (route) => route.fulfill(events(['line', { slug: HOSTILE, stream: HOSTILE, line: HOSTILE }])));
  await page.route('**/runs', (route) => route.fulfill({ json: { data: { runs: [run] } } }));
  await open();
  await page.locator('.name', { hasText: '<img' }).click();
  for (const tab of ['Log', 'Runs', 'Configuration']) {
    await page.click(`#tabs >> text=${tab}`);
    await page.locator('.panel:visible', { hasText: '<img src=x' }).waitFor();
  }
  await page.locator('#does >> text=Delete').click();
  await page.locator('#question', { hasText: 'Delete <img' }).waitFor();
  assert.equal(await page.locator('img, iframe, script:not(body > script), svg[onload]').count(), 0);
  const links = await page.locator('a').evaluateAll((all) => all.map(({ protocol, rel }) => `${protocol} ${rel}`));
  assert.deepEqual(links, ['http: noopener noreferrer']);
});

pageTest('a page of a managed server can not read, frame or steer it', {}, async ({ daemon, page, open, context }) => {
  const script = `require('http').createServer((q, r) => { r.setHeader('Content-Type', 'text/html'); r.end('<!doctype html><title>app</title>'); }).listen(0, '127.0.0.1')`;
  await daemon.server('app', `exec ${process.execPath} -e "${script}"`);
  const { url } = await until('the app', async () => {
    const server = await daemon.info('app');
    return server.url && server;
  });
  await open();
  await rowHas(page, 'app', 'ready');
  // Opened from the page, it has no way back to it.
  const [app] = await Promise.all([context.waitForEvent('page'), row(page, 'app').locator('a').click()]);
  await app.waitForLoadState();
  assert.deepEqual(await app.evaluate(() => [document.title, window.opener, document.referrer]), ['app', null, '']);
  await app.close();
  // A page of its own tries by itself, in a context of its own: what it causes is no fault of the status page.
  const other = await context.browser().newContext();
  const attacker = await other.newPage();
  await attacker.goto(url);
  const reported = await attacker.evaluate(async (target) => {
    const tried = {};
    tried.read = await fetch(`${target}/ui`).then((answer) => answer.text()).catch(() => 'refused');
    tried.stop = await fetch(`${target}/servers/app/stop`, { method: 'POST', mode: 'no-cors' }).then(({ type }) => type).catch(() => 'refused');
    const frame = document.createElement('iframe');
    const loaded = new Promise((done) => { frame.onload = done; });
    frame.src = `${target}/ui`;
    document.body.append(frame);
    await loaded;
    tried.frame = frame.contentDocument === null ? 'out of reach' : frame.contentDocument.title;
    const opened = window.open(`${target}/ui#token=planted`);
    await new Promise((done) => setTimeout(done, 1500));
    tried.opened = opened.closed;
    return tried;
  }, daemon.origin);
  assert.deepEqual(reported, { read: 'refused', stop: 'opaque', frame: 'out of reach', opened: true });
  await until('the frame', async () => attacker.frames().some((frame) => frame.url().startsWith('chrome-error:')));
  await other.close();
  assert.equal((await daemon.info('app')).status, 'ready');
  assert.equal(await page.evaluate(() => sessionStorage.token), TOKEN);
});
