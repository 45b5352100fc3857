//! The checked settings.

mod elastic;

pub use elastic::{Credentials, ElasticSettings, Secret};
