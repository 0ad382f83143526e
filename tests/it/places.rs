//! Where a listener is found, what its URL names, and what is said of one that is somewhere else.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Control, Daemon, quiet_port, testchild, wait_until};

#[test]
fn a_server_is_seen_to_listen_whichever_thread_has_the_socket() {
    let daemon = Daemon::start();
    let python = "import ctypes,threading,http.server as h,os\n\
                  s=h.HTTPServer(('127.0.0.1',int(os.environ['PORT'])),h.SimpleHTTPRequestHandler)\n\
                  threading.Thread(target=s.serve_forever).start()\n\
                  ctypes.CDLL(None).pthread_exit(0)\n";
    fs::write(daemon.root.join("ended.py"), python).unwrap();
    let apart = "import ctypes,threading,http.server as h,os,time\n\
                 def serve():\n\
                 \x20ctypes.CDLL(None).unshare(0x400)\n\
                 \x20h.HTTPServer(('127.0.0.1',int(os.environ['PORT'])),h.SimpleHTTPRequestHandler).serve_forever()\n\
                 threading.Thread(target=serve).start()\n\
                 time.sleep(999)\n";
    fs::write(daemon.root.join("apart.py"), apart).unwrap();
    for (slug, start) in [
        ("ended", format!("{} end-main serve 127.0.0.1:PORT 200 stay", testchild())),
        ("apart", format!("{} apart serve 127.0.0.1:PORT 200 stay", testchild())),
        ("ended-python", "python3 ended.py".to_owned()),
        ("apart-python", "python3 apart.py".to_owned()),
    ] {
        let port = quiet_port();
        daemon.client.create(&json!({"slug": slug, "start": start, "port": port, "health_check": {}})).server(201);
        let ready = daemon.client.when_ready(slug);
        assert_eq!((&ready["port"], &ready["ports"]), (&json!(port), &json!([port])), "{slug}");
        assert_eq!(daemon.client.post(&format!("/servers/{slug}/stop")).server(200)["status"], "stopped");
    }
}

/// The body that is at `url`, which has no path.
fn fetch(url: &str) -> String {
    let authority = url.strip_prefix("http://").unwrap();
    let mut stream = TcpStream::connect(authority).unwrap();
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {authority}\r\n\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn serve(daemon: &Daemon, slug: &str, address: &str) -> Value {
    let spec = json!({"slug": slug, "start": format!("{} serve {address} 200 stay", testchild())});
    daemon.client.create(&spec).server(201);
    daemon.client.when_ready(slug)
}

#[test]
fn a_url_leads_to_its_server() {
    let daemon = Daemon::start();
    for (slug, ip) in [("two", "127.0.0.2"), ("far", "127.9.8.7")] {
        let server = serve(&daemon, slug, &format!("{ip}:{}", quiet_port()));
        assert_eq!(server["url"], format!("http://{ip}:{}", server["port"]));
        let page = fetch(server["url"].as_str().unwrap());
        assert!(page.contains(&format!("hello from {}", server["pid"])), "{page}");
    }
    // Two on one port.
    let port = quiet_port();
    let first = serve(&daemon, "first", &format!("127.0.0.1:{port}"));
    assert_eq!(first["url"], format!("http://localhost:{port}"));
    serve(&daemon, "second", &format!("[::1]:{port}"));
    for (slug, url) in [("first", format!("http://127.0.0.1:{port}")), ("second", format!("http://[::1]:{port}"))] {
        let server = wait_until(&format!("{slug} is at {url}"), || {
            Some(daemon.client.show(slug)).filter(|server| server["url"] == url)
        });
        let page = fetch(&url);
        assert!(page.contains(&format!("hello from {}", server["pid"])), "{page}");
    }
    assert_eq!(daemon.client.post("/servers/second/stop").server(200)["status"], "stopped");
    wait_until("the name leads to the other one again", || {
        (daemon.client.show("first")["url"] == format!("http://localhost:{port}")).then_some(())
    });
    // A third one that is on none of its addresses changes nothing.
    serve(&daemon, "third", &format!("127.0.0.3:{port}"));
    assert_eq!(daemon.client.show("first")["url"], format!("http://localhost:{port}"));
}

/// A process that has nothing to do with the daemon; ended when this is dropped.
struct Stranger(Child);

impl Stranger {
    fn end(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
fn a_foreign_process_on_the_server_s_port_is_named() {
    let daemon = Daemon::start();
    let control = Control::new();
    for (slug, check) in [("checked", Some(json!({}))), ("plain", None)] {
        let port = quiet_port();
        let mut spec = json!({"slug": slug, "start": "sleep 600", "port": port});
        if let Some(check) = &check {
            spec["health_check"] = check.clone();
        }
        daemon.client.create(&spec).server(201);
        // As `docker compose up` has it: the port belongs to another process, which the command does not own.
        let stranger = Command::new(testchild())
            .args(["ctl", "stranger", "serve", &format!("0.0.0.0:{port}"), "200", "stay"])
            .env("CTL", control.address.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut stranger = Stranger(stranger.unwrap());
        let sentence = format!(
            "port {port} is held by pid {} (testchild), which is not a process of this server",
            stranger.0.id()
        );
        let server = wait_until("the holder is named", || {
            Some(daemon.client.show(slug)).filter(|server| server["status_reason"] == sentence)
        });
        assert!(server.get("url").is_none(), "{server:#}");
        if check.is_some() {
            assert_eq!(
                (&server["health_status"], &server["health"]["last_error"]),
                (&json!("checking"), &json!(sentence))
            );
        }
        stranger.end();
        wait_until("it is no longer said", || daemon.client.show(slug).get("status_reason").is_none().then_some(()));
        assert!(daemon.client.show(slug)["health"].get("last_error").is_none());
    }
}

#[test]
fn a_tls_server_is_asked_whether_it_is_one_and_no_other_server_is() {
    let daemon = Daemon::start();
    let make = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=localhost", "-days", "1"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(&daemon.root)
        .stderr(Stdio::null())
        .status();
    assert!(make.unwrap().success());
    let python = "import http.server as h,ssl,os\n\
                  c=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain('cert.pem','key.pem')\n\
                  s=h.ThreadingHTTPServer(('127.0.0.1',int(os.environ['PORT'])),h.SimpleHTTPRequestHandler)\n\
                  s.socket=c.wrap_socket(s.socket,server_side=True); s.serve_forever()\n";
    fs::write(daemon.root.join("tls.py"), python).unwrap();
    let node = "require('https').createServer({key:require('fs').readFileSync('key.pem'),\
                cert:require('fs').readFileSync('cert.pem')},(q,a)=>a.end()).listen(process.env.PORT)";
    fs::write(daemon.root.join("tls.cjs"), node).unwrap();
    for (slug, start, is_tls) in [
        (
            "openssl",
            "exec openssl s_server -quiet -accept 127.0.0.1:$PORT -cert cert.pem -key key.pem -www".into(),
            true,
        ),
        ("python", "python3 tls.py".into(), true),
        ("node", "node tls.cjs".into(), true),
        ("refuses", format!("{} serve 127.0.0.1:PORT 400 stay", testchild()), false),
        ("mute", format!("{} serve 127.0.0.1:PORT hang stay", testchild()), false),
        ("ssh", format!("{} listen stay", testchild()), false),
    ] {
        let check = json!({"interval_ms": 100, "timeout_ms": 500});
        daemon
            .client
            .create(&json!({"slug": slug, "start": start, "port": quiet_port(), "health_check": check}))
            .server(201);
        let error = wait_until(&format!("a check of {slug} has failed"), || {
            Some(daemon.client.show(slug)["health"]["last_error"].as_str()?.to_owned())
        });
        println!("{slug}: {error}");
        assert_eq!(error.contains("does it speak TLS?"), is_tls, "{slug}: {error}");
        assert_eq!(daemon.client.delete(&format!("/servers/{slug}")).status, 204);
    }
}
