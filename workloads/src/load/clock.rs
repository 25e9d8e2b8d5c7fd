//! One clock for all threads of a load: ns since it was first asked for.

use std::{sync::OnceLock, time::Instant};

static ORIGIN: OnceLock<Instant> = OnceLock::new();

/// What the clock shows at `instant`, in ns; 0 for what was before it was first asked for.
pub(super) fn ns_at(instant: Instant) -> u64 {
    let origin = *ORIGIN.get_or_init(Instant::now);
    u64::try_from(instant.saturating_duration_since(origin).as_nanos()).unwrap_or(u64::MAX)
}

/// What it shows now, in ns.
pub(super) fn now_ns() -> u64 {
    // Read first: the origin may be made this very moment.
    ns_at(Instant::now())
}
