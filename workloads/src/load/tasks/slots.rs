//! Places for operations that have something of their own: a stream, a lease.

use std::{cell::RefCell, rc::Rc};

/// Places, of which each has one operation at a time.
pub(super) struct Slots<S>(Rc<RefCell<Vec<S>>>, usize);

/// A place that is taken; it becomes free again when this is dropped.
pub(super) struct Taken<S> {
    slots: Rc<RefCell<Vec<S>>>,
    slot: Option<S>,
}

impl<S> Slots<S> {
    pub(super) fn new(slots: Vec<S>) -> Slots<S> {
        let count = slots.len();
        Slots(Rc::new(RefCell::new(slots)), count)
    }

    /// How many there are, free or not.
    pub(super) fn count(&self) -> usize {
        self.1
    }

    /// Takes a free one.
    ///
    /// # Panics
    /// When none is free: a caller has at most as many operations under way as it has places.
    pub(super) fn take(&self) -> Taken<S> {
        let slot = self.0.borrow_mut().pop().expect("no more operations are begun than there are places");
        Taken { slots: Rc::clone(&self.0), slot: Some(slot) }
    }
}

impl<S> Taken<S> {
    pub(super) fn get(&mut self) -> &mut S {
        self.slot.as_mut().expect("it is there until the drop")
    }
}

impl<S> Drop for Taken<S> {
    fn drop(&mut self) {
        self.slots.borrow_mut().extend(self.slot.take());
    }
}
