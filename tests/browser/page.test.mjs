// What the status page shows and does, in Debian's Chromium against the daemon. Run by `make test-browser`.

import assert from 'node:assert/strict';
import { after } from 'node:test';
import { TOKEN, closeBrowser, pageTest, row, rowHas, until } from './support.mjs';

after(closeBrowser);

const live = (page) => page.locator('#live', { hasText: 'live' }).waitFor();
const choose = async (page, slug, tab) => {
  await page.click(`.name:text-is("${slug}")`);
  if (tab) await page.click(`#tabs >> text=${tab}`);
};
const lines = (page) => page.locator('#log > div:not([hidden])').allTextContents();

pageTest('the link with the token logs in and leaves no trace of it', {}, async ({ daemon, page, open }) => {
  await daemon.server('web');
  await open();
  await rowHas(page, 'web', 'running');
  const traces = await page.evaluate(() => ({
    url: location.href,
    local: { ...localStorage },
    cookie: document.cookie,
    session: { ...sessionStorage },
    html: document.documentElement.outerHTML,
  }));
  assert.ok(!traces.url.includes(TOKEN) && !traces.html.includes(TOKEN), traces.url);
  assert.deepEqual([traces.local, traces.cookie, traces.session], [{}, '', { token: TOKEN }]);
  await page.reload();
  await rowHas(page, 'web', 'running');
  assert.ok(!(await page.evaluate(() => performance.getEntriesByType('resource').map(({ name }) => name).join())).includes(TOKEN));
});

pageTest('without the link a dialog asks for the token, and again for a right one', {}, async ({ daemon, page, open }) => {
  await daemon.server('web');
  await open('');
  await page.locator('#login[open]').waitFor();
  await page.fill('#secret', 'wrong');
  await page.keyboard.press('Enter');
  await page.locator('#refused', { hasText: 'wrong' }).waitFor();
  await page.fill('#secret', TOKEN);
  await page.keyboard.press('Enter');
  await rowHas(page, 'web', 'running');
  assert.equal(await page.locator('dialog[open]').count(), 0);
});

pageTest('without authentication nothing asks for a token', { options: ['--no-auth'] }, async ({ daemon, page, open }) => {
  await daemon.server('web');
  await open('');
  await rowHas(page, 'web', 'running');
  await row(page, 'web').getByRole('button', { name: 'Stop web' }).click();
  await page.click('#yes');
  await rowHas(page, 'web', 'stopped');
  assert.equal(await page.locator('dialog[open]').count(), 0);
});

pageTest('a death shows in the row, its reason and its run within a second', {}, async ({ daemon, page, open }) => {
  await daemon.server('calm');
  const { pid } = await daemon.server('web', "echo before; echo 'about to die' >&2; exec sleep 600");
  await open();
  await rowHas(page, 'web', 'running');
  await choose(page, 'web', 'Runs');
  await page.locator('#runs', { hasText: 'is alive' }).waitFor();
  const killed = performance.now();
  process.kill(pid, 'SIGKILL');
  await rowHas(page, 'web', /failed.*SIGKILL/s, 1000);
  await page.locator('#runs summary', { hasText: /#1 start .*SIGKILL/ }).waitFor({ timeout: 1000 });
  const took = performance.now() - killed;
  assert.ok(took < 1000, `${took} ms`);
  assert.match(await page.locator('#runs details[open] pre').textContent(), /before.*about to die/);
  assert.equal(await page.locator('#runs .stderr').textContent(), 'about to die');
  // Those in trouble are first, and said aloud.
  assert.deepEqual(await page.locator('.name').allTextContents(), ['web', 'calm']);
  assert.match(await page.locator('#said').textContent(), /web is failed .*SIGKILL/);
  assert.match(await page.locator('#counts').textContent(), /^1 failed · 1 running$/);
});

pageTest('stop, restart and delete ask first; start does not', {}, async ({ daemon, page, open }) => {
  const { pid } = await daemon.server('web');
  await open();
  await rowHas(page, 'web', 'running');
  const press = (word) => row(page, 'web').getByRole('button', { name: `${word} web` }).click();
  for (const word of ['Stop', 'Restart']) {
    await press(word);
    assert.equal(await page.locator('#question').textContent(), `${word} web?`);
    await page.locator('#sure >> text=Cancel').click();
    await press(word);
    await page.keyboard.press('Escape');
    // Enter alone answers no.
    await press(word);
    await page.keyboard.press('Enter');
    await page.locator('#sure[open]').waitFor({ state: 'detached' });
  }
  assert.equal((await daemon.info('web')).pid, pid);
  await press('Restart');
  await page.click('#yes');
  await until('another process', async () => ![undefined, pid].includes((await daemon.info('web')).pid));
  await press('Stop');
  await page.click('#yes');
  await rowHas(page, 'web', 'stopped');
  await press('Start');
  await rowHas(page, 'web', 'running');
  await choose(page, 'web');
  await page.locator('#does').getByRole('button', { name: 'Delete web' }).click();
  await page.click('#yes');
  await row(page, 'web').waitFor({ state: 'detached' });
  await page.locator('#detail').waitFor({ state: 'hidden' });
  assert.deepEqual((await daemon.api('GET', '/servers')).servers, []);
});

pageTest('what the daemon refuses is shown in its words', {}, async ({ daemon, page, open }) => {
  await daemon.server('web');
  await open();
  await rowHas(page, 'web', 'running');
  await page.route('**/servers/web/stop', (route) => route.fulfill({ status: 409, json: { error: 'not now, because' } }));
  await row(page, 'web').getByRole('button', { name: 'Stop web' }).click();
  await page.click('#yes');
  await page.locator('#note', { hasText: 'web: not now, because' }).waitFor();
});

pageTest('the form starts a first server', {}, async ({ daemon, page, open }) => {
  await open();
  await page.locator('#none', { hasText: 'No servers yet' }).waitFor();
  await page.click('#more');
  await page.fill('[name=slug]', 'no way');
  await page.fill('[name=start]', 'exec sleep 600');
  await page.keyboard.press('Enter');
  await page.locator('#wrong', { hasText: 'slug' }).waitFor();
  await page.fill('[name=slug]', 'first');
  await page.fill('[name=port]', '23456');
  await page.fill('[name=health]', '/ok');
  await page.keyboard.press('Enter');
  await rowHas(page, 'first', 'running');
  await page.locator('#title', { hasText: 'first' }).waitFor();
  const server = await daemon.info('first');
  assert.deepEqual([server.requested_port, server.health_check.path], [23456, '/ok']);
  await page.click('#more');
  await page.locator('#create >> text=Cancel').click();
  await page.locator('#create').waitFor({ state: 'hidden' });
});

pageTest('a daemon that starts again is found again', {}, async ({ daemon, page, open }) => {
  await daemon.server('web', 'echo here I am; exec sleep 600');
  await open();
  await rowHas(page, 'web', 'running');
  await choose(page, 'web');
  await page.evaluate(() => { window.same = true; });
  await daemon.end();
  await page.locator('#live', { hasText: 'no connection' }).waitFor();
  await daemon.boot();
  await live(page);
  await rowHas(page, 'web', 'running');
  await until('the log', async () => (await lines(page)).join() === 'here I am');
  assert.ok(await page.evaluate(() => window.same), 'the page was loaded again');
});

pageTest('a stream that breaks is resumed where it was', {}, async ({ daemon, page, open }) => {
  await daemon.server('web');
  const asked = [];
  await page.route('**/events', async (route) => {
    asked.push({ at: performance.now(), last: (await route.request().allHeaders())['last-event-id'] });
    if (asked.length > 4) await route.continue();
    else if (asked.length > 1) await route.abort();
    else await route.fulfill({ contentType: 'text/event-stream', body: 'id: a-7\nevent: snapshot\ndata: {"servers":[]}\n\n' });
  });
  await open();
  await until('five tries', () => asked.length === 5);
  await rowHas(page, 'web', 'running');
  assert.deepEqual(asked.map(({ last }) => last), [undefined, 'a-7', 'a-7', 'a-7', 'a-7']);
  const gaps = asked.slice(1).map(({ at }, place) => at - asked[place].at);
  for (const [place, least] of [500, 1000, 2000, 4000].entries()) {
    assert.ok(gaps[place] > 0.9 * least && gaps[place] < 3 * least, `${gaps}`);
  }
});

pageTest('the log: both streams, found text, missed bytes, and following', {}, async ({ daemon, page, open }) => {
  const say = `i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo line $i; done; printf '\\033[31mred\\033[0m\\n'; printf '1%%\\r99%%\\n'; echo oops >&2`;
  await daemon.server('web', `${say}; exec sleep 600`);
  await daemon.server('other', 'echo of the other; exec sleep 600');
  await open();
  await choose(page, 'web');
  await until('the log', async () => (await lines(page)).length === 203);
  assert.deepEqual((await lines(page)).slice(-3).sort(), ['99%', 'oops', 'red']);
  assert.deepEqual(await page.locator('#log .stderr').allTextContents(), ['oops']);
  const place = () => page.evaluate(() => ({ top: log.scrollTop, rest: log.scrollHeight - log.clientHeight - log.scrollTop, follow: document.querySelector('#follow').checked }));
  assert.ok((await place()).rest < 8);
  await page.fill('#find', 'LINE 19');
  assert.equal((await lines(page)).length, 11);
  assert.equal(await page.locator('#found').textContent(), '11 lines');
  await page.fill('#find', '');
  await page.locator('#log').hover();
  await page.mouse.wheel(0, -400);
  await until('no following', async () => !(await place()).follow);
  const { top } = await place();
  assert.ok(top > 0);
  await page.mouse.wheel(0, 9999);
  await until('following', async () => (await place()).follow);
  await page.mouse.wheel(0, -400);
  await until('no following', async () => !(await place()).follow);
  await page.check('#follow');
  assert.ok((await place()).rest < 8);
  await choose(page, 'other');
  await until('the other log', async () => (await lines(page)).join() === 'of the other');
});

pageTest('the document has 5,000 lines of a log at most', {}, async ({ daemon, page, open }) => {
  await daemon.server('flood', 'while sleep 0.05; do seq 1 3000; date +%N; done');
  await open();
  await choose(page, 'flood');
  const count = () => page.evaluate(() => log.children.length);
  await until('the most', async () => (await count()) === 5000);
  for (let round = 0; round < 5; round += 1) {
    const last = await page.evaluate(() => log.lastChild.textContent);
    await until('other lines', async () => (await page.evaluate(() => log.lastChild.textContent)) !== last);
    assert.ok((await count()) <= 5000);
  }
  await row(page, 'flood').getByRole('button', { name: 'Stop flood' }).click();
  await page.click('#yes');
  await rowHas(page, 'flood', 'stopped');
});

pageTest('the values of the environment are shown on demand', {}, async ({ daemon, page, open }) => {
  await daemon.server('web', 'exec sleep 600', { environment: { API_KEY: 'a-secret-value' }, restart_policy: 'on-failure' });
  await open();
  await choose(page, 'web', 'Configuration');
  const config = page.locator('#config');
  await config.filter({ hasText: 'API_KEY' }).waitFor();
  assert.match(await config.textContent(), /exec sleep 600.*on-failure/);
  assert.ok(!(await page.content()).includes('a-secret-value'));
  await page.getByRole('button', { name: 'Show API_KEY' }).click();
  assert.match(await config.textContent(), /API_KEY.*a-secret-value/);
  await page.getByRole('button', { name: 'Show API_KEY' }).click();
  assert.ok(!(await page.content()).includes('a-secret-value'));
});

pageTest('a filter, a link and the keyboard alone', {}, async ({ daemon, page, open }) => {
  await daemon.server('web', 'exec sleep 600');
  await daemon.server('worker', 'exec sleep 600');
  await open();
  await rowHas(page, 'worker', 'running');
  await page.fill('#filter', 'WOR');
  assert.deepEqual(await page.locator('.name').allTextContents(), ['worker']);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.locator('#title', { hasText: 'worker' }).waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.locator('#sure[open]').waitFor();
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await rowHas(page, 'worker', 'stopped');
  // The button is gone; the focus is on what takes its place.
  await until('the focus', () => page.evaluate(() => document.activeElement.ariaLabel === 'Start worker'));
  await page.keyboard.press('Enter');
  await rowHas(page, 'worker', 'running');
  await page.getByRole('button', { name: 'Close the details' }).press('Enter');
  await page.locator('#detail').waitFor({ state: 'hidden' });
  await until('the focus', () => page.evaluate(() => document.activeElement.textContent === 'worker'));
  await choose(page, 'worker');
  await page.reload();
  await page.locator('#title', { hasText: 'worker' }).waitFor();
});

pageTest('CPU time and memory: figures, curves, and no question while the page is hidden', {}, async ({ daemon, page, open }) => {
  await daemon.server('web');
  let asked = 0;
  // Half a core, as the daemon would report it, by its own clock of another year.
  await page.route('**/servers?stats=true', (route) => {
    asked += 1;
    const stats = { run: 1, cpu_ms: 1000 * asked, memory_bytes: 2 ** 26, rss_bytes: 2 ** 27, processes: 3, at: new Date(2e12 + 2000 * asked).toISOString() };
    return route.fulfill({ json: { data: { servers: [{ slug: 'web', stats, health: { last_status: 204, last_duration_ms: asked } }, { slug: 'unknown', stats }, { slug: 'stopped' }] } } });
  });
  await open();
  await rowHas(page, 'web', /50\.0 %.*64\.0 MiB.*204 · \d+ ms/s);
  await until('a curve', () => page.evaluate(() => /^M\d+ \d+L\d+ \d+L/.test(document.querySelector('.c-cpu path').getAttribute('d'))));
  await choose(page, 'web');
  await page.locator('#facts', { hasText: 'processes 3 · CPU 50.0 % · 64.0 MiB' }).waitFor();
  await page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { value: true, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  });
  const before = asked;
  await page.waitForTimeout(4500);
  assert.equal(asked, before);
  await page.evaluate(() => {
    delete document.hidden;
    document.dispatchEvent(new Event('visibilitychange'));
  });
  await until('the next question', () => asked > before);
  // What does not run has none.
  await daemon.api('POST', '/servers/web/stop');
  await rowHas(page, 'web', 'stopped');
});
