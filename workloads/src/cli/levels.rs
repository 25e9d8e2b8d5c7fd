//! What consistency levels mean: `assay check --explain LEVEL`.

/// A level: its name, what it promises, and a small history that breaks it.
struct Level {
    name: &'static str,
    means: &'static str,
    example: &'static str,
}

const fn level(name: &'static str, means: &'static str, example: &'static str) -> Level {
    Level { name, means, example }
}

/// From strong to weak.
const LEVELS: [Level; 25] = [
    level(
        "strict-serializable",
        "Transactions appear to happen one at a time, each between its call and its answer.",
        "T1: append x 1, answered. Then T2 begins: reads x as []. Broken: T2 must see what was answered before it began.",
    ),
    level(
        "strong-session-serializable",
        "Transactions appear to happen one at a time, in an order that keeps that of each process.",
        "A process appends x 1, and then reads x as []. Broken: it must see what it did itself.",
    ),
    level(
        "strong-snapshot-isolation",
        "Snapshot isolation, and a snapshot holds all that was answered before the transaction began.",
        "T1: append x 1, answered. Then T2 begins: reads x as []. Broken: its snapshot is older than T1's answer.",
    ),
    level(
        "strong-read-committed",
        "Read committed, in an order of transactions that real time agrees with.",
        "T1 reads x as [1] and is answered; then T2 begins and appends that 1. Broken: T1 saw what came later.",
    ),
    level(
        "strong-read-uncommitted",
        "Writes of transactions do not interleave, in an order that real time agrees with.",
        "T1 appends x 1 and is answered; then T2 begins and appends x 2; x ends as [2 1]. Broken: T2 came later.",
    ),
    level(
        "strong-session-snapshot-isolation",
        "Snapshot isolation, and a snapshot holds all that its process did before.",
        "A process appends x 1, and then reads x as []. Broken: its snapshot is older than its own write.",
    ),
    level(
        "strong-session-causal",
        "Causal, where whoever saw or did something has it as a cause of all that its process does later.",
        "A process writes x and then y; another reads that y, and then x as it was before. Broken.",
    ),
    level(
        "strong-session-read-atomic",
        "Read atomic, and a transaction sees what its process wrote before.",
        "A process writes x 1, and then reads x as it was before. Broken.",
    ),
    level(
        "strong-session-monotonic-atomic-view",
        "Monotonic atomic view, in an order of transactions that keeps that of each process.",
        "T1 writes x 1, then T2 of the same process writes x 2 and y 2. T3 reads y as 2 and then x as 1. Broken: T1 came \
         before T2, of which T3 had seen a write.",
    ),
    level(
        "strong-session-read-committed",
        "Read committed, in an order of transactions that keeps that of each process.",
        "A process reads x as [1], and appends that 1 only later. Broken: it saw what it did later.",
    ),
    level(
        "strong-session-read-uncommitted",
        "Writes of transactions do not interleave, in an order that keeps that of each process.",
        "A process appends x 1 and then x 2; x ends as [2 1]. Broken: its appends changed places.",
    ),
    level(
        "linearizable",
        "Operations on one object appear to happen one at a time, each between its call and its answer. \
         Strict-serializable, for single operations.",
        "write 1 is answered; then write 2 is answered; then a read begins and finds 1. Broken: the read is stale.",
    ),
    level(
        "serializable",
        "Transactions appear to happen one at a time, in some order that real time need not agree with.",
        "T1 reads y as [] and appends to x; T2 reads x as [] and appends to y (write skew). Broken: whichever came first, \
         the other must have seen it.",
    ),
    level(
        "snapshot-isolation",
        "A transaction reads from one snapshot, and of two that overlap and write the same key only one commits.",
        "T1 and T2 both read x as [1] and append to it. Broken: the second must not commit (lost update).",
    ),
    level(
        "parallel-snapshot-isolation",
        "As snapshot isolation, but snapshots need only respect causality: two readers may see two independent writes in \
         different orders.",
        "T1 and T2 both read x as [1] and append to it. Broken: lost update.",
    ),
    level(
        "repeatable-read",
        "What a transaction read does not change before it ends: no cycle of dependencies through single keys.",
        "T1 reads x as [] and appends y 1; T2 reads y as [] and appends x 1. Broken: each missed what the other wrote.",
    ),
    level(
        "prefix",
        "A transaction sees what some prefix of one common order of commits made.",
        "T3 sees T1's write and not T2's; T4 sees T2's and not T1's (long fork). Broken: no common order has both prefixes.",
    ),
    level(
        "causal",
        "Whoever sees a write sees all that its writer had seen.",
        "T1 writes x; T2 reads that x and writes y; T3 reads that y, and x as it was before. Broken: T3 saw an effect without \
         its cause.",
    ),
    level(
        "read-atomic",
        "All writes of a transaction become visible together.",
        "T1 writes x 1 and y 1; T2 reads x as 1 and y as it was before. Broken: T2 saw half of T1 (fractured read).",
    ),
    level(
        "monotonic-atomic-view",
        "Once a transaction has seen a write of another, it sees all writes of that one from then on.",
        "T1 writes x 1 and y 1; T2 reads x as 1 and then y as it was before. Broken.",
    ),
    level(
        "consistent-view",
        "What a transaction reads fits together: no cycle of dependencies with one anti-dependency in it (PL-2+).",
        "T1 writes x 1 and y 1; T2 reads x as 1 and y as it was before (read skew). Broken.",
    ),
    level(
        "update-atomic",
        "Read atomic, and of two transactions that read one version of a key and write it only one commits.",
        "T1 and T2 both read x as 1 and write x. Broken: one of the updates is lost.",
    ),
    level(
        "cursor-stability",
        "What a transaction read and then writes has not been written by others meanwhile.",
        "T1 and T2 both read x as 1 and write x. Broken: one of the updates is lost.",
    ),
    level(
        "read-committed",
        "Only what was committed is read, and only as it was at the end of its transaction.",
        "T1 writes x 1 and aborts; T2 reads x as 1 (G1a). Broken: nobody may see what was aborted.",
    ),
    level(
        "read-uncommitted",
        "Writes of transactions do not interleave: there is an order of transactions that all keys' writes agree with.",
        "T1 and T2 both write x and y; x ends as T1's and y as T2's (G0). Broken: the keys disagree on who came last.",
    ),
];

/// The text for a level.
///
/// # Errors
/// What levels there are, where there is none of this name.
pub(super) fn explain(name: &str) -> Result<String, String> {
    match LEVELS.iter().find(|level| level.name == name) {
        Some(Level { name, means, example }) => Ok(format!("{name}\n  {means}\n  For example: {example}\n")),
        None => {
            let names: Vec<&str> = LEVELS.iter().map(|level| level.name).collect();
            Err(format!("there is no level `{name}` to explain; there are {}", names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_explained_and_others_named() {
        for Level { name, .. } in &LEVELS {
            assert!(explain(name).is_ok_and(|text| text.contains("Broken")), "{name}");
        }
        // What can be asked for can be explained.
        let asked = checker::isolation::levels::names();
        asked.for_each(|name| assert!(explain(name).is_ok(), "{name}"));
        assert!(explain("eventual").is_err_and(|text| text.contains("serializable")));
    }
}
