import os
from http.server import BaseHTTPRequestHandler, HTTPServer

from greeting import HELLO


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(HELLO.encode())


server = HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler)
# Not flushed: the daemon sees to it that this does not stay in a buffer.
print(f"listening on {server.server_port}")
server.serve_forever()
