//! Verify beside a pipeline that is at work.

use std::time::Duration;

use crate::harness::{Database, Deed, Index, Program, Proxy, assert_same, movies_documents, wait_until};
use crate::verify::{counts, verify};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn a_repair_waits_for_what_the_pipeline_beside_it_is_at_work_on() {
    let database = Database::with_films("verify_held", 50);
    let index = Index::new("verify_held");
    let mut program = Program::new(&database, &index);
    program.set("VERIFY_INTERVAL", "0");
    let proxy = Proxy::passing(index.server);
    program.set("ELASTIC_URL", &proxy.url());
    let running = program.run();
    program.set("ELASTIC_URL", &index.server.url());
    // Longer than verify takes to see the difference and to wait for two polls.
    proxy
        .set_rule(|asked| if asked.is_bulk() { Deed::PassLater(Duration::from_secs(8)) } else { Deed::Pass });
    let sent = proxy.bulks().len();
    database.execute("update content.film_work set title = 'held', modified = now()");
    wait_until(SOON, "the change is on its way", || proxy.bulks().len() > sent);
    let (code, report, log) = verify(&program, &["--repair"]);
    assert_eq!((code, counts(&report)), (0, [0, 0, 0]), "{report} {log}");
    assert_same(&index.documents(), &movies_documents(&mut database.connect()));
    proxy.set_rule(|_| Deed::Pass);
    assert_eq!(running.terminate().code, 0);
}
