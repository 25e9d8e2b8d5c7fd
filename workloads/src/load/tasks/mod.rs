//! Load by an ordinary client: tonic's, one task a call, all on one thread.
//!
//! For unary calls it is what an ordinary program would measure, and pay: the yardstick of the raw client. What goes
//! over streams, which the raw client leaves out, is driven here too.
mod keep_alive;
mod pacer;
mod replay;
mod slots;
mod unary;

use super::{drive::Plan, interval::Interval, mix::Kind};
use pacer::Pacer;
use std::sync::atomic::AtomicBool;

/// Drives a store as planned, from one thread, and hands over each interval.
pub(super) fn drive(plan: &Plan, stop: &AtomicBool, mut each: impl FnMut(Interval)) {
    let failed = |error: String, each: &mut dyn FnMut(Interval)| {
        let mut interval = Interval::new(0, plan.workload.names().len());
        interval.error = Some(error);
        each(interval);
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(format!("no runtime for tonic: {error}"), &mut each),
    };
    let local = tokio::task::LocalSet::new();
    // Channels are made inside the runtime that they belong to.
    let driven = local.block_on(&runtime, async {
        match plan.workload.kind {
            Kind::Calls => Pacer::new(plan, unary::Unary::new(plan)?).run(stop, &mut each).await,
            Kind::KeepAlive => {
                Pacer::new(plan, keep_alive::KeepAlive::prepare(plan).await?).run(stop, &mut each).await;
            }
            Kind::Replay { events } => {
                Pacer::new(plan, replay::Replay::prepare(plan, events).await?).run(stop, &mut each).await;
            }
            Kind::Store => unreachable!("a store in this process is driven by `store_drive`"),
        }
        Ok(())
    });
    if let Err(error) = driven {
        failed(error, &mut each);
    }
}
