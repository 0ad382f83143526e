//! The daemon is denied what it needs: it lives, answers as far as that is possible, says what is missing, and recovers
//! by itself when it is given back.

mod clock;
mod descriptors;
mod disk;
mod machine;
mod stderr;
pub mod tasks;
