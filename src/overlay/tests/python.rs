//! Real Python environments, of `python3 -m venv`.

use std::process::Command;

use super::*;

fn make(scratch: &Scratch, name: &str, options: &[&str]) {
    let path = scratch.template().join(name);
    let made = Command::new("python3").args(["-m", "venv"]).args(options).arg(path).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// The same with a program that says what pip says, in a fraction of the time.
fn make_quickly(scratch: &Scratch, name: &str) {
    make(scratch, name, &["--without-pip"]);
    let python = scratch.template().join(name).join("bin/python");
    let pip = format!("#!{}\nimport sys\nprint(f'pip 0 from {{sys.prefix}}/lib/')\n", python.display());
    scratch.file(&format!("{name}/bin/pip"), pip);
    run(&scratch.template().join(name), "chmod +x bin/pip");
}

/// What a shell says that runs `script` in `directory`.
#[track_caller]
fn run(directory: &Path, script: &str) -> String {
    let output = Command::new("bash").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{script}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_copied_environment_is_one_of_its_own() {
    let scratch = Scratch::with_template();
    make(&scratch, ".venv", &[]);
    // Scripts as installers write them: through a shell, in a zip, with two names; and programs.
    let venv = scratch.template().join(".venv").display().to_string();
    let through_shell = format!("#!/bin/sh\n'''exec' {venv}/bin/python \"$0\" \"$@\"\n' '''\nprint(1)\n");
    scratch.file(".venv/bin/long", through_shell);
    scratch.file(".venv/bin/zip", [format!("#!{venv}/bin/python\nPK\0").as_bytes(), venv.as_bytes()].concat());
    scratch.file(".venv/bin/binary", [b"\x7fELF\0", venv.as_bytes()].concat());
    fs::hard_link(scratch.template().join(".venv/bin/pip"), scratch.template().join(".venv/bin/pip-again")).unwrap();
    fs::hard_link(scratch.template().join(".venv/bin/pip"), scratch.template().join("pip-elsewhere")).unwrap();
    scratch.file("bin/tool", format!("#!{venv}/bin/python\n"));
    let before = portrait(&scratch.template());
    for strategy in [Strategy::Smart, Strategy::Copy] {
        let app = scratch.root().join(strategy.as_str());
        scratch.copied(strategy.as_str(), strategy);
        let env = app.join(".venv").display().to_string();
        let output = run(&app, ". .venv/bin/activate && touch $VIRTUAL_ENV/written && echo $VIRTUAL_ENV");
        assert_eq!(output, format!("{env}\n"));
        assert!(app.join(".venv/written").exists());
        for pip in ["pip", "pip3", "pip-again"] {
            let output = run(&app, &format!(".venv/bin/{pip} -V"));
            assert!(output.contains(&format!(" from {env}/lib/")), "{output}");
        }
        let left = run(&app, &format!("grep -rl -e {} .venv/bin | sort", scratch.template().display()));
        assert_eq!(left, ".venv/bin/binary\n.venv/bin/zip\n", "programs stay as they are");
        let zip = fs::read(app.join(".venv/bin/zip")).unwrap();
        assert!(zip.starts_with(format!("#!{env}/bin/python\nPK\0").as_bytes()), "but for the first line");
        for dialect in ["activate", "activate.csh", "activate.fish", "long"] {
            assert!(fs::read_to_string(app.join(".venv/bin").join(dialect)).unwrap().contains(&env), "{dialect}");
        }
        let [copy, original] = [&app, &scratch.template()].map(|top| fs::metadata(top.join(".venv/bin/pip")).unwrap());
        assert_eq!((copy.mode(), copy.mtime()), (original.mode(), original.mtime()));
        // What lies elsewhere is copied as it is.
        for path in ["bin/tool", "pip-elsewhere"] {
            assert_eq!(fs::read(app.join(path)).unwrap(), fs::read(scratch.template().join(path)).unwrap(), "{path}");
        }
        assert_same(&portrait(&scratch.template()), &before);
    }
}

#[test]
fn the_mark_and_not_the_name_makes_an_environment() {
    let scratch = Scratch::with_template();
    make_quickly(&scratch, "backend/env");
    scratch.file("tools/bin/x", format!("#!{}/bin/python\n", scratch.template().display()));
    for name in ["venv", "my-python"] {
        run(&scratch.template(), &format!("cp -a backend/env {name}; sed -i s:backend/env:{name}: {name}/bin/*[^3n]"));
    }
    scratch.copied("a b/app", Strategy::Smart);
    let app = scratch.root().join("a b/app");
    for name in ["backend/env", "venv", "my-python"] {
        let env = app.join(name).display().to_string();
        let output = run(&app, &format!(". {name}/bin/activate && echo \"$VIRTUAL_ENV\""));
        assert_eq!(output, format!("{env}\n"));
        let output = run(&app, &format!("{name}/bin/pip -V"));
        assert!(output.contains(&format!(" from {env}/lib/")), "{output}");
    }
    let tool = |top: &Path| fs::read(top.join("tools/bin/x")).unwrap();
    assert_eq!(tool(&app), tool(&scratch.template()), "no environment, no change");
}

#[test]
fn its_scripts_are_the_overlays_own_when_files_are_deleted() {
    let scratch = Scratch::with_template();
    make_quickly(&scratch, "env");
    let overlays = scratch.overlays();
    let view = over(&overlays, scratch.spec("app"));
    assert_eq!(view.status, CopyStatus::Complete);
    fs::write(scratch.root().join("app/env/bin/pip"), "changed").unwrap();
    overlays.delete(&view.id, DeleteFiles::Remove).unwrap();
    let left = run(&scratch.root().join("app"), "find . -type f -o -type l");
    assert_eq!(left, "./env/bin/pip\n", "what a user has changed stays, and nothing else");
}
