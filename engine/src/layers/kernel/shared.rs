//! One output for parallel tasks that write scattered parts of it.

use std::marker::PhantomData;

/// A mutable slice of which several threads write parts that do not overlap, such as columns of a matrix.
pub struct Shared<'a> {
    data: *mut f32,
    len: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: it is a mutable borrow of floats; who gets at them promises not to overlap with anybody else.
#[allow(unsafe_code)]
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Of a whole slice.
    #[must_use]
    pub fn new(data: &'a mut [f32]) -> Self {
        Self { data: data.as_mut_ptr(), len: data.len(), borrowed: PhantomData }
    }

    /// `len` elements from `start` on.
    ///
    /// # Safety
    /// As long as the part is used, no other part that is used may have an element of it.
    ///
    /// # Panics
    /// When the part leaves the slice.
    #[inline(always)]
    #[must_use]
    #[allow(unsafe_code, clippy::mut_from_ref)]
    pub unsafe fn part(&self, start: usize, len: usize) -> &mut [f32] {
        assert!(len <= self.len && start <= self.len - len, "shared output: out of range");
        // SAFETY: inside the borrowed slice, and by the caller's promise nobody else's.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(start), len) }
    }

    /// The address of an element; what is written from there is the caller's responsibility.
    ///
    /// # Panics
    /// When it is not in the slice.
    #[must_use]
    pub(super) fn pointer(&self, index: usize) -> *mut f32 {
        assert!(index < self.len, "shared output: out of range");
        self.data.wrapping_add(index)
    }
}
