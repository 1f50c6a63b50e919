//! Links the core where no standard library can be. Checks no behaviour.
//!
//! The panic handler below is a lang item that `std` has too: as soon as anything in the
//! dependency tree links `std`, the compiler stops with E0152. Without the feature `alloc` there is
//! no global allocator either: linking `alloc` stops the build as well.
#![no_std]

// Linking is what is probed, so the crate has to be named.
use mqtt_seal as _;

#[panic_handler]
fn halt(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

#[cfg(feature = "alloc")]
mod heap {
    use core::alloc::{GlobalAlloc, Layout};
    use core::ptr::null_mut;

    /// A heap with no room: enough for the linker.
    struct Empty;

    #[global_allocator]
    static HEAP: Empty = Empty;

    // SAFETY: null is the answer of an allocator that has nothing left, so nothing is ever freed.
    unsafe impl GlobalAlloc for Empty {
        unsafe fn alloc(&self, _: Layout) -> *mut u8 {
            null_mut()
        }

        unsafe fn dealloc(&self, _: *mut u8, _: Layout) {}
    }
}
