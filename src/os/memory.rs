//! What the process keeps of the system's memory: the allocator, where what is large comes from the system and goes back
//! to it, and the code that has done its work.
//!
//! Owns: from which size on a block is a mapping of its own. Never: a small block; those are the C library's.
//!
//! The allocator of musl lays blocks of one size into groups of up to 128 KiB, uses the places of a group one after the
//! other before it uses one of them again, and keeps the last group of each size even when it is empty. So every size of
//! answer or file that ever came along would leave its pages with the daemon, an hour of mixed work some 200 KiB.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::ptr::{self, null_mut};
use std::slice;

// ThreadSanitizer does not know `mremap`: to it, a block that has moved is one that somebody else has written to.
#[cfg_attr(not(sanitized), global_allocator)]
static BLOCKS: Blocks = Blocks;

/// What is larger is a mapping of its own: a page. The two calls of the system cost less than what fills so much.
const PAGE: usize = 4096;

struct Blocks;

/// Where a block is. Nothing but its layout decides about that, so that it is found again by its layout.
enum Place {
    Group,
    Mapping,
}

fn place(size: usize, align: usize) -> Place {
    if size > PAGE && align <= PAGE { Place::Mapping } else { Place::Group }
}

fn unless_failed(mapping: *mut libc::c_void) -> *mut u8 {
    if mapping == libc::MAP_FAILED { null_mut() } else { mapping.cast() }
}

fn map(size: usize) -> *mut u8 {
    let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping wherever there is room touches nothing that is there.
    unless_failed(unsafe { libc::mmap(null_mut(), size, access, kind, -1, 0) })
}

// SAFETY: a block is either the system allocator's from its first to its last call or a mapping that nobody else has; both
// are as large as asked for and aligned, a mapping to a page. Null is given when there is no memory. Nothing here panics.
unsafe impl GlobalAlloc for Blocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match place(layout.size(), layout.align()) {
            // SAFETY: the caller's promise is handed on.
            Place::Group => unsafe { System.alloc(layout) },
            Place::Mapping => map(layout.size()),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        match place(layout.size(), layout.align()) {
            // SAFETY: the caller's promise is handed on.
            Place::Group => unsafe { System.alloc_zeroed(layout) },
            // The kernel gives no other pages than empty ones.
            Place::Mapping => map(layout.size()),
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match place(layout.size(), layout.align()) {
            // SAFETY: the caller's promise is handed on; by its layout the block is the system allocator's.
            Place::Group => unsafe { System.dealloc(block, layout) },
            Place::Mapping => {
                // SAFETY: by its layout the block is a mapping of this size, and the caller uses it no more.
                unsafe { libc::munmap(block.cast(), layout.size()) };
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        match (place(layout.size(), layout.align()), place(size, layout.align())) {
            // SAFETY: the caller's promise is handed on; by its layout the block is the system allocator's.
            (Place::Group, Place::Group) => unsafe { System.realloc(block, layout, size) },
            (Place::Mapping, Place::Mapping) => {
                // SAFETY: by its layout the block is a mapping of this size; the caller goes on with what is given back.
                let moved = unsafe { libc::mremap(block.cast(), layout.size(), size, libc::MREMAP_MAYMOVE) };
                unless_failed(moved)
            }
            (Place::Group, Place::Mapping) | (Place::Mapping, Place::Group) => {
                // SAFETY: the caller vouches for the size, and `layout` for the alignment.
                let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
                // SAFETY: the new block is another one, both have room for what is copied, and the old one is used no more.
                unsafe {
                    let copy = self.alloc(new);
                    if !copy.is_null() {
                        ptr::copy_nonoverlapping(block, copy, layout.size().min(size));
                        self.dealloc(block, layout);
                    }
                    copy
                }
            }
        }
    }
}

/// Lets go of the code and the constants that the process has used so far. The kernel maps many pages around each one that
/// is used, and of the start nothing is needed any more. They are the file's, as before: what is used again is mapped again,
/// from the file cache, and what is not can be taken back by the system without asking.
pub fn let_go_of_code() {
    for pages in unchanging_pages() {
        // SAFETY: the pages are this program's own image, mapped from its file, and the system allows nobody to write to
        // them, so that each has the same contents when it is mapped again.
        unsafe { libc::madvise(ptr::with_exposed_provenance_mut(pages.start), pages.len(), libc::MADV_DONTNEED) };
    }
}

/// The addresses of whole pages that hold nothing but code and constants of the program. Segment by segment: the linker may
/// leave room between two of them, and the kernel puts other mappings there, even a thread's memory.
fn unchanging_pages() -> Vec<Range<usize>> {
    /// Notes the segments of the first object, which is the program, and asks for no other one.
    unsafe extern "C" fn note(object: *mut libc::dl_phdr_info, _: usize, found: *mut c_void) -> c_int {
        // SAFETY: the C library lends a valid object for as long as this call takes, with as many headers as it says.
        let (base, headers) = unsafe {
            let object = &*object;
            (object.dlpi_addr, slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
        };
        // SAFETY: it is the vector that is handed on below, and nobody else uses it meanwhile.
        let found = unsafe { &mut *found.cast::<Vec<Range<usize>>>() };
        for header in headers {
            if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
                let start = (base + header.p_vaddr) as usize;
                found.push(start..start + header.p_memsz as usize);
            }
        }
        1
    }
    // SAFETY: a question that touches nothing.
    let Ok(page) = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }) else { return Vec::new() };
    let mut found: Vec<Range<usize>> = Vec::new();
    // SAFETY: `note` takes the vector for what it is.
    unsafe { libc::dl_iterate_phdr(Some(note), (&raw mut found).cast()) };
    // A page at an edge may belong to a neighbour too.
    let whole = found.into_iter().map(|bytes| bytes.start.next_multiple_of(page)..bytes.end / page * page);
    whole.filter(|pages| !pages.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The addresses of a mapping, by its line in `/proc/self/maps`; nothing for the other lines of `smaps`.
    fn range(line: &str) -> Option<Range<usize>> {
        let (from, to) = line.split(' ').next()?.split_once('-')?;
        let [from, to] = [from, to].map(|text| usize::from_str_radix(text, 16).ok());
        Some(from?..to?)
    }

    #[test]
    fn code_that_was_let_go_of_is_there_when_it_is_needed() {
        /// KiB of the mapping that this function is in.
        fn resident() -> u64 {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let here = resident as fn() -> u64 as usize;
            let mut lines = maps.lines().skip_while(|line| !range(line).is_some_and(|range| range.contains(&here)));
            let line = lines.find(|line| line.starts_with("Rss:")).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        }
        // Other tests use more of it meanwhile.
        let is_less = (0..20).any(|_| {
            let before = resident();
            let_go_of_code();
            resident() < before
        });
        assert!(is_less);
    }

    #[test]
    fn nothing_but_code_and_constants_is_let_go_of() {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let program = std::env::current_exe().unwrap();
        // Address ranges that are this program's and that nobody may write to.
        let unchanging = maps.lines().filter_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let is_one = words[1].as_bytes()[1] == b'-' && words.get(5) == program.to_str().as_ref();
            is_one.then(|| range(line).unwrap())
        });
        let mut pages: Vec<usize> = unchanging.flat_map(|range| range.step_by(PAGE)).collect();
        pages.sort_unstable();
        let let_go_of: Vec<usize> = unchanging_pages().into_iter().flat_map(|range| range.step_by(PAGE)).collect();
        let here = unchanging_pages as fn() -> Vec<Range<usize>> as usize / PAGE * PAGE;
        assert!(let_go_of.contains(&here), "{let_go_of:x?}");
        for page in let_go_of {
            assert!(pages.binary_search(&page).is_ok(), "{page:x}\n{maps}");
        }
    }

    fn is_mapped(address: usize) -> bool {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().any(|line| range(line).unwrap().contains(&address))
    }

    #[test]
    fn a_block_keeps_its_content_from_place_to_place() {
        let known = |range: std::ops::Range<usize>| range.map(|at| (at % 251) as u8);
        let mut bytes: Vec<u8> = Vec::new();
        // Over every border there is, and back.
        for size in [1, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE, 40 * PAGE, 41 * PAGE + 7, 2 * PAGE, PAGE + 1, PAGE, 100, 1]
        {
            bytes.truncate(size);
            bytes.shrink_to_fit();
            bytes.reserve_exact(size - bytes.len());
            assert_eq!(bytes.capacity(), size);
            assert!(known(0..bytes.len()).eq(bytes.iter().copied()), "{size}");
            bytes.extend(known(bytes.len()..size));
        }
    }

    #[test]
    fn what_is_zeroed_is_and_what_is_aligned_is() {
        for size in [PAGE, PAGE + 1, 64 * PAGE] {
            // Dirt of the same size first.
            drop(std::hint::black_box(vec![7_u8; size]));
            assert!(std::hint::black_box(vec![0_u8; size]).iter().all(|byte| *byte == 0));
        }
        #[repr(align(16384))]
        struct Wide([u8; 16384]);
        let wide = Box::new(Wide([3; 16384]));
        assert_eq!((&raw const *wide).addr() % 16384, 0);
        assert!(wide.0.iter().all(|byte| *byte == 3));
    }

    #[test]
    fn a_large_block_goes_back_to_the_system_at_once() {
        // Other tests may be given the same addresses at any moment; one round in which nobody was is enough.
        let gone = (0..100).any(|_| {
            let block = std::hint::black_box(vec![1_u8; 64 * PAGE]);
            let middle = block.as_ptr().addr() + 32 * PAGE;
            assert!(is_mapped(middle));
            drop(block);
            !is_mapped(middle)
        });
        assert!(gone);
    }

    #[test]
    fn what_there_is_no_room_for_is_refused() {
        let layout = Layout::from_size_align(isize::MAX as usize - PAGE, 1).unwrap();
        // SAFETY: neither layout is empty, and the block that there is is used as it was asked for.
        unsafe {
            assert!(BLOCKS.alloc(layout).is_null());
            let small = Layout::from_size_align(2 * PAGE, 1).unwrap();
            let block = BLOCKS.alloc(small);
            *block = 5;
            assert!(BLOCKS.realloc(block, small, layout.size()).is_null());
            assert_eq!(*block, 5, "what can't grow stays as it is");
            BLOCKS.dealloc(block, small);
        }
    }
}
