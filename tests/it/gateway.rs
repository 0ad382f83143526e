//! The SDK's gateway: one sandbox after the other, all or nothing, and what is left of it after a restart.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Answer, Client, Control, Daemon, Document, quiet_port, testchild};

const ALL: &str = "/v1/sandboxes";

fn ask(client: &Client, method: &str, target: &str, body: Option<&Value>) -> Answer {
    // As the client asks: with its own name for the token, and a content type whether or not there is a body.
    let stranger = Client { token: None, ..client.clone() };
    let key = client.token.as_deref().unwrap();
    let headers = [("X-ComputeSDK-API-Key", key), ("X-Provider", "computesdk"), ("Content-Type", "application/json")];
    let text = body.map(Value::to_string);
    stranger.request(method, target, &headers, text.as_deref().map(str::as_bytes))
}

#[track_caller]
fn data(answer: &Answer, status: u16) -> Value {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.json()["success"], true);
    answer.json()["data"].clone()
}

#[track_caller]
fn create(client: &Client, body: &Value) -> Value {
    data(&ask(client, "POST", ALL, Some(body)), 201)
}

fn slugs(client: &Client) -> Vec<String> {
    let list = client.get("/servers").json();
    list["data"]["servers"].as_array().unwrap().iter().map(|server| server["slug"].as_str().unwrap().into()).collect()
}

/// All that a client can see of servers and overlays, but for what a look changes.
fn seen(client: &Client) -> (Value, Value) {
    (client.get("/servers").json(), client.get("/filesystem/overlays").json())
}

#[test]
fn a_sandbox_takes_the_place_of_the_one_before() {
    let daemon = Daemon::with(&["--gateway"], &[]);
    let (client, template) = (&daemon.client, daemon.scratch().0.join("template"));
    fs::create_dir_all(&template).unwrap();
    fs::write(template.join("file"), "from the template").unwrap();
    let start = format!("{} listen stay", testchild());
    let port = quiet_port();
    let body = |slug: &str| {
        json!({
            "directory": "app", "envs": {"ALL": "1", "OWN": "no"}, "metadata": {"n": [1]}, "timeout": 1000, "imgae": 1,
            "overlays": [{"source": template, "target": "."}],
            "servers": [
                {"slug": slug, "start": start, "port": port, "install": "cat file; printenv ALL OWN", "environment": {"OWN": "yes"}},
                {"slug": "lazy", "start": "true", "autostart": false},
            ],
        })
    };
    client.create(&json!({"slug": "own", "start": format!("{} stay", testchild())})).server(201);
    let first = create(client, &body("one"));
    let id = first["sandboxId"].as_str().unwrap();
    assert_eq!(slugs(client), ["lazy", "one"], "what a client had created before ends too");
    assert_eq!(first["url"], format!("http://{}", client.address));
    assert_eq!(
        (&first["provider"], &first["metadata"], &first["timeout"]),
        (&json!("servisor"), &json!({"n": [1]}), &json!(1000))
    );
    assert_eq!(first["warnings"].as_array().unwrap().len(), 1, "{first}");
    assert_eq!(first["overlays"].as_array().unwrap().len(), 1);
    assert_eq!(first["servers"].as_array().unwrap().len(), 2);
    let server = client.when_ready("one");
    assert_eq!(server["path"], daemon.root.join("app").display().to_string());
    assert!(client.logs("one", "").starts_with("from the template1\nyes\n"), "{}", client.logs("one", ""));
    assert_eq!(client.show("lazy")["status"], "stopped");
    assert_eq!(data(&ask(client, "GET", &format!("{ALL}/{id}"), None), 200)["sandboxId"], id);

    fs::write(daemon.root.join("app/mine"), "kept").unwrap();
    let second = create(client, &body("two"));
    assert_ne!(second["sandboxId"], id);
    assert_eq!(slugs(client), ["lazy", "two"]);
    assert_ne!(second["overlays"][0]["id"], first["overlays"][0]["id"]);
    assert_eq!(fs::read_to_string(daemon.root.join("app/mine")).unwrap(), "kept");
    client.when_ready("two");
    // The same once more, with the same slugs, ports and targets.
    create(client, &body("two"));
    client.when_ready("two");
    for (method, tail) in [("GET", ""), ("DELETE", ""), ("POST", "/extend")] {
        let answer = ask(client, method, &format!("{ALL}/{id}{tail}"), Some(&json!({"duration": 1})));
        assert!(answer.error(404).contains(id), "{method} {tail}");
    }
}

#[test]
fn nothing_is_changed_by_a_payload_with_one_bad_server() {
    let daemon = Daemon::with(&["--gateway"], &[]);
    let client = &daemon.client;
    let good = |slug: &str| json!({"slug": slug, "start": format!("{} stay", testchild())});
    let first = create(client, &json!({"name": "n", "servers": [good("web")]}));
    client.wait_for_status("web", "running");
    let before = seen(client);
    let nowhere = daemon.root.join("nowhere");
    for (body, places) in [
        (json!({"servers": [good("a"), {"slug": "b"}]}), &["servers[1].start"][..]),
        (json!({"servers": [good("a"), good("a")]}), &["servers[1].slug"]),
        (
            json!({"servers": [good("a"), {"slug": "b", "start": "x", "path": nowhere, "port": 0}]}),
            &["servers[1].port"],
        ),
        (json!({"servers": [good("a"), {"slug": "b", "start": "x", "path": nowhere}]}), &["servers[1].path"]),
        (json!({"overlays": [{"source": nowhere, "target": "x"}], "servers": [good("a")]}), &["overlays[0].source"]),
        (
            json!({"servers": [{"slug": "b", "start": "x", "depends_on": ["a1"], "overlay": {"source": nowhere, "target": "x"}}]}),
            &["servers[0].depends_on", "servers[0].overlays[0].source"],
        ),
        (json!({"envs": {"A": 1}, "metadata": 3, "servers": [good("a")]}), &["envs.A", "metadata"]),
    ] {
        for (target, name) in [
            (ALL.to_owned(), "other"),
            (format!("{ALL}/find-or-create"), "other"),
            (format!("{ALL}/find-or-create"), "n"),
        ] {
            let mut body = body.clone();
            body["name"] = json!(name);
            let answer = ask(client, "POST", &target, Some(&body));
            assert_eq!(answer.status, 422, "{body}: {}", answer.text());
            let fields = answer.json()["fields"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
            assert_eq!(fields, places, "{body}");
        }
    }
    assert_eq!(seen(client), before);
    assert_eq!(
        data(&ask(client, "POST", &format!("{ALL}/find"), Some(&json!({"name": "n"}))), 200)["sandboxId"],
        first["sandboxId"]
    );
}

#[test]
fn a_sandbox_is_found_again_also_by_another_daemon() {
    let mut daemon = Daemon::with(&["--gateway"], &[]);
    let (find, find_or_create) = (format!("{ALL}/find"), format!("{ALL}/find-or-create"));
    let name = |namespace: &str| json!({"namespace": namespace, "name": "n"});
    let wanted = json!({"namespace": "s", "name": "n", "metadata": {"a": "b"}, "servers": [
        {"slug": "web", "start": format!("{} stay", testchild())}]});
    assert_eq!(ask(&daemon.client, "POST", &find, Some(&name("s"))).status, 404);
    let made = data(&ask(&daemon.client, "POST", &find_or_create, Some(&wanted)), 201);
    let pid = daemon.client.wait_for_status("web", "running")["pid"].clone();
    let present = data(&ask(&daemon.client, "POST", &find_or_create, Some(&name("s"))), 200);
    assert_eq!((&present["sandboxId"], &present["metadata"]), (&made["sandboxId"], &made["metadata"]));
    assert_eq!(daemon.client.show("web")["pid"], pid, "it changes nothing");
    assert_eq!(ask(&daemon.client, "POST", &find, Some(&name("default"))).status, 404);
    let one = format!("{ALL}/{}", made["sandboxId"].as_str().unwrap());
    for (more, sum) in [(5, 5), (900_000, 900_005)] {
        let answer = ask(&daemon.client, "POST", &format!("{one}/extend"), Some(&json!({"duration": more})));
        assert_eq!((answer.status, answer.json()), (200, json!({"success": true})));
        assert_eq!(data(&ask(&daemon.client, "GET", &one, None), 200)["timeout"], sum);
    }

    daemon.kill();
    daemon.begin_anew(&["--gateway", "--sandbox-url", "https://sb.example.com/"], &[]);
    let again = data(&ask(&daemon.client, "POST", &find, Some(&name("s"))), 200);
    assert_eq!(
        (&again["sandboxId"], &again["metadata"], &again["timeout"]),
        (&made["sandboxId"], &json!({"a": "b"}), &json!(900_005))
    );
    assert_eq!(again["url"], "https://sb.example.com");
    assert_eq!(daemon.client.get("/info").json()["data"]["sandbox_url"], "https://sb.example.com");
    daemon.client.wait_for_status("web", "running");

    let gone = ask(&daemon.client, "DELETE", &one, None);
    assert_eq!((gone.status, gone.json()), (200, json!({"success": true})));
    assert_eq!(slugs(&daemon.client), Vec::<String>::new());
    for (method, target) in [("DELETE", &one), ("GET", &one), ("POST", &find)] {
        assert_eq!(ask(&daemon.client, method, target, Some(&name("s"))).status, 404, "{method} {target}");
    }
    daemon.kill();
    daemon.begin_anew(&["--gateway"], &[]);
    assert_eq!(ask(&daemon.client, "GET", &one, None).status, 404);
    assert_eq!(slugs(&daemon.client), Vec::<String>::new());
}

#[test]
fn servers_that_take_long_to_stop_do_not_outlast_the_patience_of_the_client() {
    let daemon = Daemon::with(&["--gateway"], &[]);
    let (client, control) = (&daemon.client, Control::new());
    let port = quiet_port();
    let server = |start: &str| {
        json!({"slug": "web", "start": format!("{} {start}", testchild()), "stop_timeout_ms": 600_000, "port": port,
            "strict_port": true, "environment": {"CTL": control.address.to_string()}})
    };
    // One that ends by itself has the time that it needs.
    create(client, &json!({"servers": [server("drain 1500 listen ctl slow stay")]}));
    let mut slow = control.child();
    create(client, &json!({"servers": [server("ignore-term listen ctl stubborn stay")]}));
    assert!(slow.is_dead() && daemon.log().contains("stopped"));
    let mut stubborn = control.child();
    // One that does not is killed, in time. A request in between waits, or is refused: it never sees half of both.
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| ask(client, "POST", ALL, Some(&json!({}))));
        let one = ask(client, "POST", ALL, Some(&json!({"servers": [server("listen stay")]})));
        let statuses = [one.status, other.join().unwrap().status];
        assert!(statuses.contains(&201) && statuses.contains(&503), "{statuses:?}");
    });
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(15) && took < Duration::from_secs(29), "{took:?}");
    assert!(stubborn.is_dead());
    // The port is free again.
    create(client, &json!({"servers": [server("listen stay")]}));
    assert_eq!(client.when_ready("web")["port"], port);
}

#[test]
fn without_the_option_there_is_no_gateway_and_other_parts_of_the_sdk_are_never_there() {
    let (off, on) = (Daemon::start(), Daemon::with(&[], &[("SERVISOR_GATEWAY", "1")]));
    for (method, target) in [
        ("POST", "/v1/sandboxes"),
        ("GET", "/v1/sandboxes/a1"),
        ("DELETE", "/v1/sandboxes/a1"),
        ("POST", "/v1/sandboxes/find-or-create"),
        ("GET", "/v1/snapshots"),
        ("GET", "/v1/nothing"),
    ] {
        let answer = ask(&off.client, method, target, Some(&json!({})));
        assert!(answer.error(501).contains("--gateway"), "{method} {target}");
        let stranger = Client { token: None, ..on.client.clone() };
        let key = [("X-ComputeSDK-API-Key", "wrong")];
        assert_eq!(stranger.request(method, target, &key, None).status, 401, "{method} {target}");
    }
    assert!(ask(&on.client, "DELETE", "/v1/snapshots/s1", None).error(501).contains("snapshots"));
    assert_eq!(ask(&on.client, "GET", "/v1/nothing", None).status, 404);
    assert_eq!(ask(&on.client, "GET", "/servers", None).status, 401, "the key counts for the gateway alone");
    for daemon in [&off, &on] {
        for (method, target) in [
            ("POST", "/run/command"),
            ("HEAD", "/files//app/x"),
            ("GET", "/files?path=%2F"),
            ("DELETE", "/env?file=.env"),
            ("POST", "/terminals"),
            ("GET", "/sandboxes"),
            ("GET", "/auth/info"),
        ] {
            let (client, stranger) = (&daemon.client, Client { token: None, ..daemon.client.clone() });
            assert_eq!(stranger.request(method, target, &[], None).status, 401, "{method} {target}");
            let answer = client.request(method, target, &[], None);
            assert_eq!(answer.status, 501, "{method} {target}");
            assert!(method == "HEAD" || answer.error(501).starts_with("servisor manages servers"));
        }
        assert_eq!(daemon.client.get("/ws?token=x&protocol=binary").status, 404);
    }
}

#[test]
fn its_answers_are_as_the_document_says() {
    let daemon = Daemon::with(&["--gateway"], &[]);
    let document = Document(daemon.client.get("/openapi.json").json());
    let server = json!({"slug": "web", "start": format!("{} listen stay", testchild()), "port": quiet_port()});
    let full = json!({"name": "n", "metadata": {}, "timeout": 5, "odd": 1, "servers": [server], "overlays": [
        {"source": daemon.scratch().0.join("root"), "target": daemon.scratch().0.join("copy")}]});
    let holds = |method: &str, path: &str, id: &str, body: Option<&Value>, status: u16| {
        let answer = ask(&daemon.client, method, &path.replace("{id}", id), body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        let kind = answer.header("Content-Type").unwrap_or_default();
        document
            .fault(method, path, answer.status, kind, &answer.body)
            .unwrap_or_else(|fault| panic!("{method} {path}: {fault}"));
        answer.json()["data"].clone()
    };
    let [find, find_or_create, one] = ["find", "find-or-create", "{id}"].map(|tail| format!("{ALL}/{tail}"));
    let made = holds("POST", ALL, "", Some(&full), 201);
    let id = made["sandboxId"].as_str().unwrap();
    daemon.client.when_ready("web");
    holds("POST", &find_or_create, "", Some(&full), 200);
    holds("POST", &find, "", Some(&json!({"name": "n"})), 200);
    holds("POST", &find, "", Some(&json!({"name": "x"})), 404);
    holds("POST", &find, "", Some(&json!({})), 422);
    holds("GET", &one, id, None, 200);
    holds("POST", &format!("{one}/extend"), id, Some(&json!({"duration": 1})), 200);
    holds("POST", &format!("{one}/extend"), id, Some(&json!({})), 422);
    holds("DELETE", &one, id, None, 200);
    holds("DELETE", &one, id, None, 404);
    holds("POST", &find_or_create, "", Some(&json!({"name": "other"})), 201);
}
