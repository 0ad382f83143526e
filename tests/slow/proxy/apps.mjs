// Small applications of real frameworks, none of which knows that there is a proxy: files, command, and what a person does there.
//
// Each `visit({ page, base, edit })` has to hold at any address of the application. `edit(file, from, to)` changes a file as an editor
// does, and back again after the visit.

import assert from 'node:assert/strict';

const bin = (name) => `../../node_modules/.bin/${name}`;
const python = '"$PROXY_VENV"/bin/python';
const PIXEL = Buffer.from('89504e470d0a1a0a', 'hex');

/** A change of the source appears without a reload. */
async function updates({ page, edit }, file, from, to, where = 'body') {
  await page.evaluate(() => { window.stays = true; });
  await edit(file, from, to);
  await page.locator(where, { hasText: to }).first().waitFor();
  assert.equal(await page.evaluate(() => window.stays), true, 'the page was reloaded');
}

export const APPS = {
  vite: {
    files: {
      'index.html': '<!doctype html><title>Vite</title><p id="text"></p><script type="module" src="/main.js"></script>',
      'main.js': `import { text } from './text.js';
        const show = (text) => { document.querySelector('#text').textContent = text; };
        show(text);
        import.meta.hot.accept('./text.js', (changed) => show(changed.text));`,
      'text.js': "export const text = 'first text';",
    },
    start: `${bin('vite')} --port $PORT --strictPort`,
    async visit({ page, base, edit }) {
      await page.goto(base);
      await page.getByText('first text').waitFor();
      await connected(page, /token=/);
      await updates({ page, edit }, 'text.js', 'first text', 'second text');
    },
  },

  next: {
    files: {
      'app/layout.js': 'export default function Layout({ children }) { return <html><body>{children}</body></html>; }',
      'app/page.js': `import { cookies } from 'next/headers';
        async function greet(form) { 'use server'; (await cookies()).set('name', form.get('name')); }
        export default async function Page() {
          const name = (await cookies()).get('name')?.value ?? 'stranger';
          return <main><p>first text</p><p id="hello">hello {name}</p><form action={greet}><input name="name" /><button>Send</button></form></main>;
        }`,
    },
    start: `${bin('next')} dev --port $PORT`,
    environment: { NEXT_TELEMETRY_DISABLED: '1' },
    async visit({ page, base, edit }) {
      await page.goto(base);
      await page.getByText('hello stranger').waitFor();
      await connected(page, /_next|hmr/);
      await page.locator('input[name=name]').fill('Ada');
      await page.getByText('Send').click();
      await page.getByText('hello Ada').waitFor();
      await updates({ page, edit }, 'app/page.js', 'first text', 'second text', 'p');
    },
  },

  // Its client has the port of the server compiled in, unless it is 0: then it takes the page's.
  webpack: {
    files: {
      'public/index.html': '<!doctype html><title>webpack</title><p id="text"></p><script src="/main.js"></script>',
      'src/index.js': `import { text } from './text.js';
        const show = () => { document.querySelector('#text').textContent = text; };
        show();
        module.hot.accept('./text.js', show);`,
      'src/text.js': "export const text = 'first text';",
    },
    start: `${bin('webpack')} serve --mode development --port $PORT --client-web-socket-url-port 0`,
    async visit({ page, base, edit }) {
      await page.goto(base);
      await page.getByText('first text').waitFor();
      await connected(page, /\/ws$/);
      await updates({ page, edit }, 'src/text.js', 'first text', 'second text');
    },
  },

  streamlit: {
    files: {
      'app.py': `import streamlit as st
name = st.text_input('Name')
st.write(f'hello {name or "stranger"}')
file = st.file_uploader('File')
if file: st.write(f'{file.name} has {len(file.getvalue())} bytes')
`,
    },
    start: `${python} -m streamlit run app.py --server.port $PORT --server.headless true --browser.gatherUsageStats false`,
    async visit({ page, base }) {
      await page.goto(base);
      await page.getByText('hello stranger').waitFor();
      await page.getByLabel('Name').fill('Ada');
      await page.getByLabel('Name').press('Enter');
      await page.getByText('hello Ada').waitFor();
      await page.locator('input[type=file]').setInputFiles({ name: 'pixel.png', mimeType: 'image/png', buffer: PIXEL });
      await page.getByText('pixel.png has 8 bytes').waitFor();
    },
  },

  // Its kernel is spoken to over a WebSocket whose Origin it checks, and made by a POST that needs its cookie.
  jupyter: {
    files: { 'notes.txt': '' },
    start: `${python} -m jupyter_server --port=$PORT --ServerApp.port_retries=0 --no-browser --allow-root --IdentityProvider.token=secret`,
    async visit({ page, base }) {
      await page.goto(`${base}/login`);
      await page.locator('#password_input').fill('secret');
      await page.locator('#login_submit').click();
      await page.waitForURL((url) => url.pathname !== '/login');
      const answer = await page.evaluate(kernel, '6 * 7');
      assert.equal(answer, '42');
    },
  },

  django: {
    files: {
      'app.py': `import os, sys
from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpResponse
from django.middleware.csrf import get_token
from django.shortcuts import redirect
from django.urls import path
settings.configure(DEBUG=True, SECRET_KEY='k' * 50, ROOT_URLCONF=__name__, MIDDLEWARE=['django.middleware.common.CommonMiddleware',
  'django.middleware.csrf.CsrfViewMiddleware', 'django.middleware.clickjacking.XFrameOptionsMiddleware'])
def home(request):
    if request.method == 'POST':
        answer = redirect(request.build_absolute_uri('/'))
        answer.set_cookie('name', request.POST['name'])
        return answer
    name = request.COOKIES.get('name', 'stranger')
    return HttpResponse(f'<p>hello {name}</p><form method="post"><input type="hidden" name="csrfmiddlewaretoken" value="{get_token(request)}">'
        '<input name="name"><button>Send</button></form>')
urlpatterns = [path('', home)]
execute_from_command_line(['app.py', 'runserver', '127.0.0.1:' + os.environ['PORT']])
`,
    },
    start: `${python} app.py`,
    visit: form,
  },

  // With rack-protection, which compares Origin and Referer with the host.
  sinatra: {
    files: {
      'app.rb': `require 'sinatra'
set server: 'puma', port: ENV['PORT'].to_i, bind: '127.0.0.1'
enable :sessions
set :session_secret, 's' * 64
set :protection, use: [:authenticity_token, :remote_token, :http_origin, :remote_referrer]
get '/' do
  "<p>hello #{session[:name] || 'stranger'}</p><form method='post'>" \\
    "<input type='hidden' name='authenticity_token' value='#{Rack::Protection::AuthenticityToken.token(session)}'>" \\
    "<input name='name'><button>Send</button></form>"
end
post '/' do
  session[:name] = params[:name]
  redirect to('/')
end
`,
    },
    start: 'ruby app.rb',
    visit: form,
  },

  // A redirect to an absolute address, a cookie with a domain, an event stream, a large body each way.
  flask: {
    files: {
      'app.py': `import hashlib, time
from flask import Flask, Response, redirect, request
app = Flask(__name__)
@app.get('/')
def home():
    return f'<p>hello {request.cookies.get("name", "stranger")}</p><form method="post"><input name="name"><button>Send</button></form>'
@app.post('/')
def name():
    answer = redirect(request.host_url)
    answer.autocorrect_location_header = True
    answer.set_cookie('name', request.form['name'], domain=request.host.split(':')[0])
    return answer
@app.get('/events')
def events():
    def lines():
        for number in range(3):
            yield f'data: {number}\\n\\n'
            time.sleep(0.3)
    return Response(lines(), mimetype='text/event-stream')
@app.post('/digest')
def digest():
    return hashlib.sha256(request.get_data()).hexdigest()
`,
    },
    start: `${python} -m flask run --port $PORT`,
    async visit({ page, base }) {
      await form({ page, base });
      const seen = await page.evaluate(() => new Promise((resolve) => {
        const times = [];
        const source = new EventSource('/events');
        source.onmessage = (event) => {
          times.push(performance.now());
          if (event.data !== '2') return;
          source.close();
          resolve(times);
        };
      }));
      assert.ok(seen[2] - seen[0] > 200, `the events came together: ${seen}`);
      const same = await page.evaluate(async () => {
        const body = new Uint8Array(8 * 1024 * 1024).map((_, index) => (index * 31) >> 3);
        const hex = (bytes) => [...new Uint8Array(bytes)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
        const own = crypto.subtle ? hex(await crypto.subtle.digest('SHA-256', body)) : null;
        const answer = await fetch('/digest', { method: 'POST', body }).then((answer) => answer.text());
        return own ? own === answer : /^[0-9a-f]{64}$/.test(answer);
      });
      assert.ok(same, 'the body did not arrive as it was');
    },
  },

  // Accepts a WebSocket only from a page of its own host, as careful servers do.
  ws: {
    files: {
      'app.mjs': `import { createServer } from 'node:http';
        import { WebSocketServer } from 'ws';
        const server = createServer((request, response) => response.end('<p>here</p>'));
        const verifyClient = ({ origin, req }) => origin === 'http://' + req.headers.host;
        new WebSocketServer({ server, verifyClient }).on('connection', (socket) => socket.on('message', (data, binary) => socket.send(data, { binary })));
        server.listen(process.env.PORT, '127.0.0.1');`,
    },
    start: 'node app.mjs',
    async visit({ page, base }) {
      await page.goto(base);
      const sizes = [1, 125, 126, 65535, 65536, 1_000_000];
      const echoed = await page.evaluate((sizes) => new Promise((resolve, reject) => {
        const socket = new WebSocket(location.href.replace('http', 'ws'));
        const back = [];
        socket.onopen = () => sizes.forEach((size) => socket.send('x'.repeat(size)));
        socket.onerror = () => reject(new Error('the WebSocket was refused'));
        socket.onmessage = ({ data }) => {
          back.push(data.length);
          if (back.length === sizes.length) socket.close();
        };
        socket.onclose = () => resolve(back);
      }), sizes);
      assert.deepEqual(echoed, sizes);
    },
  },
};

/** Sends a name by a form, and is greeted after a redirect to the same address. */
async function form({ page, base }) {
  await page.goto(base);
  await page.getByText('hello stranger').waitFor();
  await page.locator('input[name=name]').fill('Ada');
  await page.getByText('Send').click();
  await page.getByText('hello Ada').waitFor();
  assert.equal(new URL(page.url()).origin, new URL(base).origin);
}

/** Waits until the page has a WebSocket that has received something. */
async function connected(page, address) {
  const socket = page.sockets.find((one) => address.test(one.url())) ?? (await page.waitForEvent('websocket', (one) => address.test(one.url())));
  if (!page.received.has(socket)) await socket.waitForEvent('framereceived');
}

/** Runs code in a new kernel, in the page. */
async function kernel(code) {
  const xsrf = document.cookie.match(/(?:^|; )_xsrf=([^;]*)/)[1];
  const made = await fetch('/api/kernels', { method: 'POST', headers: { 'X-XSRFToken': xsrf, 'Content-Type': 'application/json' }, body: '{"name":"python3"}' });
  if (!made.ok) throw new Error(`no kernel: ${made.status} ${await made.text()}`);
  const { id } = await made.json();
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/api/kernels/${id}/channels?session_id=s`);
    socket.onerror = () => reject(new Error('no channel to the kernel'));
    socket.onopen = () => socket.send(JSON.stringify({
      channel: 'shell', buffers: [], metadata: {}, parent_header: {},
      header: { msg_id: 'm', msg_type: 'execute_request', session: 's', username: '', version: '5.3', date: new Date().toISOString() },
      content: { code, silent: false, store_history: false, user_expressions: {}, allow_stdin: false },
    }));
    socket.onmessage = ({ data }) => {
      const message = typeof data === 'string' ? JSON.parse(data) : null;
      if (message?.msg_type === 'execute_result') resolve(message.content.data['text/plain']);
    };
  });
}
