//! Builds the connection to the source from the parameters of its connection string and their overrides.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use postgres::config::{ChannelBinding, LoadBalanceHosts, SslMode as ConfigSslMode, TargetSessionAttrs};
use tokio_postgres::Config;

use crate::settings::source::{SourceSettings, SslMode};
use crate::settings::value::Problems;

/// How long a connection may take to be made: longer than a lost packet's retries, shorter than a patient operator.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long what was sent may stay unacknowledged before the connection counts as dead.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(60);

/// After how long a silence the other side is asked whether it is there; with the next two, a server that vanished is
/// noticed after a minute.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVES_RETRIES: u32 = 3;

/// The name that our connections show in `pg_stat_activity`.
const APPLICATION_NAME: &str = "pgsluice";

/// A parameter's value and the setting that gave it.
pub(super) struct Given {
    /// The value.
    pub(super) value: String,
    /// The setting, if it is a part of its own, whose value may be shown.
    pub(super) part: Option<&'static str>,
}

/// Builds the connection; what is not said is filled in so that a server that vanished is noticed.
pub(super) fn build(mut parameters: BTreeMap<String, Given>, problems: &mut Problems) -> SourceSettings {
    let mut config = Config::new();
    config
        .application_name(APPLICATION_NAME)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_user_timeout(TCP_USER_TIMEOUT)
        .keepalives_idle(KEEPALIVES_IDLE)
        .keepalives_interval(KEEPALIVES_INTERVAL)
        .keepalives_retries(KEEPALIVES_RETRIES);
    add_hosts(&mut parameters, &mut config, problems);
    let (ssl_mode, ssl_root_cert) = tls(&mut parameters, problems);
    let written = ["sslcert", "sslkey"].map(|name| parameters.remove(name).map(|given| given.value));
    let client_certificate = problems.client_certificate(["PG_DSN__SSLCERT", "PG_DSN__SSLKEY"], written);
    config.ssl_mode(match ssl_mode {
        SslMode::Disable => ConfigSslMode::Disable,
        SslMode::Prefer => ConfigSslMode::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => ConfigSslMode::Require,
    });
    for (name, given) in parameters {
        let value = given.value.as_str();
        // The protocol ends texts with a zero byte, so none can hold one.
        if value.contains('\0') {
            problems.say(format!("{} has a zero byte in its {name}", given.part.unwrap_or("PG_DSN")));
            continue;
        }
        let right = match name.as_str() {
            "dbname" => Ok(config.dbname(value)),
            "user" => Ok(config.user(value)),
            "password" => Ok(config.password(value)),
            "application_name" => Ok(config.application_name(value)),
            "options" => Ok(config.options(value)),
            // 0 is libpq's word for no limit, which would hold up a whole restart.
            "connect_timeout" => {
                whole(value, 1).map(|seconds| config.connect_timeout(Duration::from_secs(seconds)))
            }
            // As in libpq, this one is in milliseconds, and 0 is the system's own.
            "tcp_user_timeout" => {
                whole(value, 0).map(|millis| config.tcp_user_timeout(Duration::from_millis(millis)))
            }
            "keepalives" => whole(value, 0).map(|is_on| config.keepalives(is_on != 0)),
            "keepalives_idle" => {
                whole(value, 1).map(|seconds| config.keepalives_idle(Duration::from_secs(seconds)))
            }
            "keepalives_interval" => {
                whole(value, 1).map(|seconds| config.keepalives_interval(Duration::from_secs(seconds)))
            }
            "keepalives_count" => {
                whole(value, 1).map(|count| config.keepalives_retries(count.min(u64::from(u32::MAX)) as u32))
            }
            "target_session_attrs" => named(
                value,
                &[
                    ("any", TargetSessionAttrs::Any),
                    ("read-write", TargetSessionAttrs::ReadWrite),
                    ("read-only", TargetSessionAttrs::ReadOnly),
                ],
            )
            .map(|attributes| config.target_session_attrs(attributes)),
            "channel_binding" => named(
                value,
                &[
                    ("prefer", ChannelBinding::Prefer),
                    ("require", ChannelBinding::Require),
                    ("disable", ChannelBinding::Disable),
                ],
            )
            .map(|binding| config.channel_binding(binding)),
            "load_balance_hosts" => {
                named(value, &[("disable", LoadBalanceHosts::Disable), ("random", LoadBalanceHosts::Random)])
                    .map(|balance| config.load_balance_hosts(balance))
            }
            _ => Ok(&mut config),
        };
        if let Err(right) = right {
            problems.say(format!("PG_DSN has a wrong {name}, {right}"));
        }
    }
    SourceSettings { config, ssl_mode, ssl_root_cert, client_certificate }
}

fn whole(value: &str, at_least: u64) -> Result<u64, String> {
    // The most that fits the seconds of a socket option.
    let most = u64::from(u16::MAX) * 1000;
    value
        .parse()
        .ok()
        .filter(|number| (at_least..=most).contains(number))
        .ok_or_else(|| format!("write a whole number from {at_least} to {most}"))
}

fn named<T: Copy>(value: &str, known: &[(&str, T)]) -> Result<T, String> {
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    known
        .iter()
        .find(|(name, _)| *name == value)
        .map(|(_, meaning)| *meaning)
        .ok_or_else(|| format!("write one of {}", names.join(", ")))
}

/// Adds the hosts with their addresses and ports, of which there must be equally many, or one port for all.
fn add_hosts(parameters: &mut BTreeMap<String, Given>, config: &mut Config, problems: &mut Problems) {
    let mut list = |name: &str| -> (Vec<String>, Option<&'static str>) {
        parameters.remove(name).map_or_else(Default::default, |given| {
            (given.value.split(',').map(|item| item.trim().to_owned()).collect(), given.part)
        })
    };
    let (hosts, host_part) = list("host");
    let (addresses, _) = list("hostaddr");
    let (ports, port_part) = list("port");

    if hosts.iter().any(String::is_empty) {
        problems.say(format!("{} has an empty host", host_part.unwrap_or("PG_DSN")));
    }
    for host in hosts.iter().filter(|host| !host.is_empty()) {
        config.host(host);
    }
    for address in &addresses {
        match address.parse::<IpAddr>() {
            Ok(address) => {
                config.hostaddr(address);
            }
            Err(_) => problems.say("PG_DSN has a wrong hostaddr, write an address such as 127.0.0.1"),
        }
    }
    if !hosts.is_empty() && !addresses.is_empty() && hosts.len() != addresses.len() {
        problems.say(format!(
            "PG_DSN has {} hosts and {} addresses, write as many",
            hosts.len(),
            addresses.len()
        ));
    }
    let mut numbers = Vec::new();
    for port in &ports {
        match port.parse::<u16>() {
            _ if port.is_empty() => numbers.push(5432),
            Ok(number) if number > 0 => numbers.push(number),
            _ => match port_part {
                Some(part) => problems.wrong(part, port, "write a whole number from 1 to 65535"),
                None => problems.say(
                    "PG_DSN has a wrong port, write a whole number from 1 to 65535, and in a user or password / ? # @ : % have to be percent-encoded",
                ),
            },
        }
    }
    // The same port for every host stays right when another setting gives other hosts.
    numbers.dedup();
    let host_count = hosts.len().max(addresses.len());
    if numbers.len() > 1 {
        // `dedup` may have taken neighbours away that are needed one by one.
        numbers = ports
            .iter()
            .filter_map(|port| if port.is_empty() { Some(5432) } else { port.parse().ok() })
            .collect();
        if numbers.len() != host_count && numbers.len() == ports.len() {
            let setting = port_part.unwrap_or("PG_DSN__PORT");
            problems.say(format!(
                "there are {host_count} hosts and {} ports, write one or as many in {setting}",
                numbers.len()
            ));
        }
    }
    for number in numbers {
        config.port(number);
    }
}

fn tls(parameters: &mut BTreeMap<String, Given>, problems: &mut Problems) -> (SslMode, Option<PathBuf>) {
    let root = parameters.remove("sslrootcert");
    let is_system = root.as_ref().is_some_and(|root| root.value == "system");
    let mode = match parameters.remove("sslmode") {
        // libpq's own default for this word: naming authorities means wanting them asked.
        None if is_system => SslMode::VerifyFull,
        None => SslMode::Prefer,
        Some(Given { value, part }) => match value.as_str() {
            "disable" => SslMode::Disable,
            "prefer" => SslMode::Prefer,
            "require" => SslMode::Require,
            "verify-ca" => SslMode::VerifyCa,
            "verify-full" => SslMode::VerifyFull,
            _ => {
                let right = "write disable, prefer, require, verify-ca or verify-full";
                match part {
                    Some(part) => problems.wrong(part, &value, right),
                    None => problems.say(format!("PG_DSN has a wrong sslmode, {right}")),
                }
                SslMode::Prefer
            }
        },
    };
    let Some(root) = root.filter(|_| !is_system) else { return (mode, None) };
    if let Err(error) = std::fs::File::open(Path::new(&root.value)) {
        match root.part {
            Some(part) => problems.wrong(part, &root.value, format!("which cannot be read: {error}")),
            None => problems.say(format!("PG_DSN has an sslrootcert that cannot be read: {error}")),
        }
    }
    (mode, Some(PathBuf::from(root.value)))
}
