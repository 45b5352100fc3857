//! TLS to PostgreSQL: a server of the test's own with a certificate made here, and roles that it knows by theirs.

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Cluster, Index, Program, things_mapping, things_program};

/// Makes two authorities, and certificates of the first for the server on 127.0.0.1 and for the role `sluice`.
fn make_certificates(folder: &Path) {
    std::fs::write(folder.join("extensions"), "subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        .unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
    for command in [
        &format!("req -x509 {key} -days 2 -subj /CN=authority -keyout ca.key -out ca.pem"),
        &format!("req -x509 {key} -days 2 -subj /CN=another -keyout other.key -out other.pem"),
        &format!("req {key} -subj /CN=server -keyout server.key -out server.csr"),
        &format!("req {key} -subj /CN=sluice -keyout sluice.key -out sluice.csr"),
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out server.pem",
        "x509 -req -in sluice.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extensions -out sluice.pem",
    ] {
        let made = Command::new("openssl").args(command.split(' ')).current_dir(folder).output().unwrap();
        assert!(made.status.success(), "{command}: {}", String::from_utf8_lossy(&made.stderr));
    }
}

/// A server with TLS whose files are in the folder, which is given to the user that runs it.
fn cluster(folder: &TempDir) -> Cluster {
    let path = folder.path().display();
    std::fs::write(
        folder.path().join("pg_hba.conf"),
        "hostssl all sluice 127.0.0.1/32 cert\nhost all all 127.0.0.1/32 scram-sha-256\n",
    )
    .unwrap();
    if Command::new("id").arg("-u").output().unwrap().stdout == b"0\n" {
        let status = Command::new("chown").args(["-R", "nobody"]).arg(folder.path()).status().unwrap();
        assert!(status.success());
    }
    Cluster::new(&[
        "ssl = on",
        &format!("ssl_cert_file = '{path}/server.pem'"),
        &format!("ssl_key_file = '{path}/server.key'"),
        &format!("ssl_ca_file = '{path}/ca.pem'"),
        &format!("hba_file = '{path}/pg_hba.conf'"),
    ])
}

fn assert_refused(program: &Program, text: &str) {
    let finished = program.command(&["once"]);
    finished.assert_failed(2, text);
}

#[test]
fn certificates_of_the_server_and_of_the_role_are_verified() {
    let folder = TempDir::new().unwrap();
    make_certificates(folder.path());
    let path = |name: &str| folder.path().join(name).display().to_string();
    let cluster = cluster(&folder);
    let database = cluster.database("things");
    database.execute(
        "create table thing (id text primary key, number int, code text, day text, parts jsonb default '[]',
                             changed timestamptz default now());
         insert into thing (id, number) select 't' || n, n from generate_series(1, 20) n;
         create role sluice login;
         grant select on thing to sluice;
         grant pg_monitor to sluice",
    );
    let index = Index::new("postgres_tls");
    let mut program = things_program(&database, &index, &things_mapping());

    // By password: the server's certificate counts as far as the mode says.
    program.set("PG_DSN__SSLMODE", "verify-full").set("PG_DSN__SSLROOTCERT", &path("ca.pem"));
    program.once();
    assert_eq!(index.count(), 20);
    program.set("PG_DSN__HOST", "localhost");
    assert_refused(&program, "PG_DSN__SSLROOTCERT");
    program.set("PG_DSN__SSLMODE", "verify-ca");
    program.once();
    program.set("PG_DSN__HOST", "127.0.0.1");
    for mode in ["require", "verify-ca", "verify-full"] {
        program.set("PG_DSN__SSLMODE", mode).set("PG_DSN__SSLROOTCERT", &path("other.pem"));
        assert_refused(&program, "the server's certificate is not trusted");
    }
    program.set("PG_DSN__SSLMODE", "require").unset("PG_DSN__SSLROOTCERT");
    program.once();

    // By certificate, as a role without a password.
    program.set("PG_DSN__SSLMODE", "verify-full").set("PG_DSN__SSLROOTCERT", &path("ca.pem"));
    program.set("PG_DSN__USER", "sluice").unset("PG_DSN__PASSWORD");
    assert_refused(&program, "connection requires a valid client certificate");
    program.set("PG_DSN__SSLCERT", &path("sluice.pem")).set("PG_DSN__SSLKEY", &path("sluice.key"));
    database.execute("update thing set number = 0, changed = now() where id = 't1'");
    program.once();
    assert_eq!(index.document("t1").unwrap()["number"], 0);
    // The same in the connection string.
    let dsn = format!(
        "postgresql://sluice@127.0.0.1:{}/things?sslmode=verify-full&sslrootcert={}&sslcert={}&sslkey={}",
        program.setting("PG_DSN__PORT").unwrap(),
        path("ca.pem"),
        path("sluice.pem"),
        path("sluice.key"),
    );
    let mut by_string = things_program(&database, &index, &things_mapping());
    for part in ["HOST", "PORT", "USER", "PASSWORD", "DBNAME"] {
        by_string.unset(&format!("PG_DSN__{part}"));
    }
    let checked = by_string.set("PG_DSN", &dsn).command(&["check"]);
    assert_eq!(checked.code, 0, "{}{}", checked.log, checked.output);
    program.set("PG_DSN__SSLKEY", &path("server.key"));
    assert_refused(&program, "does not fit");
}
