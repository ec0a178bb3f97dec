//! A cluster as other regions know it: where it is reached and how it is trusted.
//!
//! **What**  Pulsar's ClusterData with three fields of ours (interface.md §4): the replicator's address, whom to trust
//! there, and the region's number. Ours are left out of the JSON while they are not set.

use crate::lenient;
use base::{RegionId, RegionName};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;

/// The metadata record of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClusterData {
    pub service_url: Option<String>,
    pub service_url_tls: Option<String>,
    pub broker_service_url: Option<String>,
    pub broker_service_url_tls: Option<String>,
    pub proxy_service_url: Option<String>,
    pub proxy_protocol: Option<String>,
    #[serde(deserialize_with = "lenient::or_default")]
    pub peer_cluster_names: BTreeSet<RegionName>,
    pub authentication_plugin: Option<String>,
    pub authentication_parameters: Option<String>,
    #[serde(deserialize_with = "lenient::flag")]
    pub broker_client_tls_enabled: bool,
    #[serde(deserialize_with = "lenient::flag")]
    pub tls_allow_insecure_connection: bool,
    #[serde(deserialize_with = "lenient::flag")]
    pub broker_client_tls_enabled_with_key_store: bool,
    pub broker_client_tls_trust_store_type: Option<String>,
    pub broker_client_tls_trust_store: Option<String>,
    pub broker_client_tls_trust_store_password: Option<String>,
    pub broker_client_tls_key_store_type: Option<String>,
    pub broker_client_tls_key_store: Option<String>,
    pub broker_client_tls_key_store_password: Option<String>,
    pub broker_client_trust_certs_file_path: Option<String>,
    pub broker_client_key_file_path: Option<String>,
    pub broker_client_certificate_file_path: Option<String>,
    pub broker_client_ssl_factory_plugin: Option<String>,
    pub broker_client_ssl_factory_plugin_params: Option<String>,
    pub listener_name: Option<String>,
    /// `quic://host:port[,host:port]` of the region's replicator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicator_url: Option<String>,
    /// PEM of the region's certificate authority, or its SHA-256 fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicator_trust: Option<String>,
    /// The region's number, 1–255, agreed at joining.
    #[serde(rename = "regionNumber", deserialize_with = "region_number", skip_serializing_if = "Option::is_none")]
    pub number: Option<RegionId>,
}

fn region_number<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Option<RegionId>, D::Error> {
    let number = lenient::maybe_number::<D, u8>(from)?;
    if number == Some(0) {
        return Err(serde::de::Error::custom("regionNumber must be 1 to 255"));
    }
    Ok(number.map(RegionId))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pulsars_own_cluster_record_is_read_and_ours_stays_out_until_set() {
        let text = r#"{"serviceUrl":"http://a:8080","brokerServiceUrl":"pulsar://a:6650","peerClusterNames":null,
            "brokerClientTlsEnabled":"false","somethingNew":{}}"#;
        let mut cluster: ClusterData = serde_json::from_str(text).unwrap();
        assert_eq!(cluster.service_url.as_deref(), Some("http://a:8080"));
        let json = serde_json::to_value(&cluster).unwrap();
        assert!(json.get("replicatorUrl").is_none() && json.get("regionNumber").is_none());
        assert_eq!(json["brokerClientTlsTrustStoreType"], serde_json::Value::Null);
        cluster.number = Some(RegionId(7));
        let again: ClusterData = serde_json::from_value(serde_json::to_value(&cluster).unwrap()).unwrap();
        assert_eq!(again, cluster);
    }

    #[test]
    fn region_number_zero_is_refused() {
        for bad in [r#"{"regionNumber":0}"#, r#"{"regionNumber":256}"#, r#"{"regionNumber":-1}"#] {
            assert!(serde_json::from_str::<ClusterData>(bad).is_err(), "{bad}");
        }
    }
}
