//! The report and the store in a real browser. Where there is none, the tests say so and pass.

mod chromium;
mod runs;

use chromium::Browser;
use serde_json::json;
use std::{net::SocketAddr, path::Path};

/// The browser, or a line that says that there is none.
fn browser(test: &str) -> Option<Browser> {
    let program = chromium::program();
    if program.is_none() {
        println!("SKIPPED: {test}: there is no chromium here; ASSAY_CHROMIUM may name one");
    }
    program.map(|program| Browser::start(&program))
}

fn url(dir: &Path, file: &str) -> String {
    format!("file://{}", dir.join(file).display())
}

const READY: &str = "document.documentElement.dataset.ready !== undefined";
/// The text beside the buttons: what is in view.
const RANGE: &str = "document.getElementById('range').value";

#[test]
fn a_report_of_100_000_operations_is_small_and_shows_its_evidence() {
    let dir = tempfile::tempdir().unwrap();
    let anomalies = runs::large(dir.path(), 100_000);
    assert!(anomalies > 0, "the forged history shows nothing");
    let bytes = std::fs::metadata(dir.path().join("report.html")).unwrap().len();
    println!("report.html of 100,000 operations: {bytes} bytes");
    assert!(bytes < 10_000_000, "{bytes} bytes");
    let Some(mut browser) = browser("the report in a browser") else { return };
    browser.resize(1280, 900, false);
    let address = url(dir.path(), "report.html");
    browser.open(&address, READY);
    println!("ready after {} ms", browser.eval("document.documentElement.dataset.ready"));
    browser.screenshot("report-top");

    // The verdict and why stand first.
    let head = browser.eval("document.querySelector('header').innerText").to_string();
    assert!(head.contains("anomaly") && head.contains("forked-reads in set"), "{head}");

    // It zooms: by button, by wheel, by key; and back.
    let whole = browser.eval(RANGE);
    browser.click("[data-zoom=in]");
    browser.wait(&format!("{RANGE} !== {whole}"));
    let zoomed = browser.eval(RANGE);
    let at = browser.eval(
        "(() => { const c = document.querySelector('canvas'); c.scrollIntoView({ block: 'center' });
           const b = c.getBoundingClientRect(); return [b.x + 300, b.y + 9]; })()",
    );
    let (x, y) = (at[0].as_f64().unwrap(), at[1].as_f64().unwrap());
    browser.ctrl_wheel(x, y, -240.0);
    browser.wait(&format!("{RANGE} !== {zoomed}"));
    browser.screenshot("report-zoomed");
    browser.click("[data-zoom=all]");
    browser.wait(&format!("{RANGE} === {whole}"));

    // The evidence leads to its operations in the timeline, and these to faults and back.
    browser.click("#anomaly-0 a.show");
    browser.wait("!document.getElementById('pick').hidden");
    let told = browser.eval("document.getElementById('pick').innerText").to_string();
    assert!(told.contains("in the evidence of forked-reads"), "{told}");
    browser.wait("document.querySelectorAll('#loglines p').length > 1");
    browser.screenshot("report-witness");
    // An operation is picked where it is drawn.
    browser.click("#pick .close");
    browser.wait("document.getElementById('pick').hidden");
    browser.click("[data-zoom=all]");
    browser.wait(&format!("{RANGE} === {whole}"));
    browser.click("canvas");
    browser.wait("!document.getElementById('pick').hidden");
    browser.click(".band");
    browser.wait("document.getElementById('pick').innerText.includes('proof that it took effect')");

    // Words are found.
    browser.eval("(() => { const find = document.getElementById('find'); find.value = 's7'; find.dispatchEvent(new Event('input')); })()");
    browser.wait("/^[1-9][0-9]* found$/.test(document.getElementById('found').value)");

    // A link into the report opens it there.
    browser.open("about:blank", "true");
    browser.open(&format!("{address}#op=set:5"), READY);
    browser.wait("document.getElementById('pick').innerText.includes('set #5')");
    assert_eq!(browser.errors, Vec::<String>::new());
}

#[test]
fn a_report_is_readable_on_a_phone_on_paper_and_in_the_dark() {
    let Some(mut browser) = browser("the report on a phone") else { return };
    let dir = tempfile::tempdir().unwrap();
    runs::large(dir.path(), 3000);
    browser.resize(390, 844, true);
    browser.open(&url(dir.path(), "report.html"), READY);
    let overflow = browser.eval("document.documentElement.scrollWidth - innerWidth");
    assert!(overflow.as_f64().unwrap() <= 1.0, "wider than the phone by {overflow}");
    browser.screenshot("phone-top");
    browser.eval("document.getElementById('timeline').scrollIntoView()");
    browser.screenshot("phone-timeline");
    browser.resize(1000, 1400, false);
    browser.call("Emulation.setEmulatedMedia", json!({ "media": "print" }));
    browser.eval("scrollTo(0, 0)");
    assert_eq!(browser.eval("getComputedStyle(document.querySelector('.tools')).display"), "none");
    browser.screenshot("print");
    let dark = json!([{ "name": "prefers-color-scheme", "value": "dark" }]);
    browser.call("Emulation.setEmulatedMedia", json!({ "media": "screen", "features": dark }));
    browser.eval("document.getElementById('timeline').scrollIntoView()");
    browser.screenshot("dark");
    assert_eq!(browser.errors, Vec::<String>::new());
}

#[test]
fn the_store_lists_filters_compares_and_shows() {
    let Some(mut browser) = browser("the store in a browser") else { return };
    let dir = tempfile::tempdir().unwrap();
    for (name, forged) in [("all/1", false), ("all/2", true)] {
        runs::small(&dir.path().join(name), forged);
    }
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let served = runtime.block_on(workloads::store::serve(dir.path(), any)).unwrap();
    let address = format!("http://{}", served.address);
    runtime.spawn(served.run(std::future::pending()));
    browser.resize(1280, 700, false);
    let rows = "document.querySelectorAll('tbody tr').length";
    browser.open(&address, &format!("{rows} === 2"));
    browser.screenshot("store");
    browser.open(&format!("{address}/?verdict=anomaly"), &format!("{rows} === 1"));
    browser.open(&address, &format!("{rows} === 2"));
    browser.click("tr:nth-child(1) input[name=a]");
    browser.click("tr:nth-child(2) input[name=b]");
    browser.click("form[action='/compare'] button");
    browser.wait("document.title === 'assay: A and B'");
    browser.screenshot("store-compare");
    // The report works under the store's policy too, and its links lead to the files beside it.
    browser.open(&format!("{address}/files/all/2/report.html"), READY);
    browser.click("#anomaly-0 a.show");
    browser.wait("!document.getElementById('pick').hidden");
    let results = browser.eval("document.querySelector('footer a').href");
    browser.open(results.as_str().unwrap(), "document.body.innerText.includes('\"verdict\": \"anomaly\"')");
    assert_eq!(browser.errors, Vec::<String>::new());
}
