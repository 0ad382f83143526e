//! A directory of files for what a target stores and reads again, in memory if the system has such a place.

use std::path::Path;
use std::sync::OnceLock;

use servisor::store::files::Files;

/// The one of this process.
pub fn files() -> &'static Files {
    static FILES: OnceLock<Files> = OnceLock::new();
    FILES.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Files::open(directory.join(format!("servisor-fuzz-{}", std::process::id()))).expect("no place for files")
    })
}
