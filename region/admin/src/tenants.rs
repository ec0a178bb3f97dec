//! Tenants: who administers them, where they may live, what they may use.

use crate::answer::{Refusal, json, no_content};
use crate::call::Call;
use crate::namespaces;
use crate::record::{Edit, decode, edit_record, put_json};
use crate::step::{Context, Next, Step};
use base::{NamespaceName, TenantName};
use meta_api::{Compare, Write};
use tenancy::{TenantInfo, keys};

pub(crate) fn list(context: &Context<'_>, _call: Call) -> Next {
    let names: Vec<&TenantName> = context.directory().tenants().map(|(name, _)| name).collect();
    Ok(Step::Reply(json(&names)))
}

pub(crate) fn missing() -> Refusal {
    Refusal::new(404, "Tenant does not exist")
}

pub(crate) fn get(context: &Context<'_>, call: Call) -> Next {
    let info = context.directory().tenant(&call.tenant()?).ok_or_else(missing)?;
    Ok(Step::Reply(json(info)))
}

pub(crate) fn create(_context: &Context<'_>, call: Call) -> Next {
    let tenant = call.tenant()?;
    let info: TenantInfo = call.optional("TenantInfo")?.unwrap_or_default();
    let key = keys::tenant_key(&tenant);
    edit_record(key.clone(), move |context, found| {
        if found.is_some() {
            return Err(Refusal::new(409, format!("Tenant already exists: {tenant}; change it with POST")));
        }
        check(context, &info)?;
        Ok(Edit { compare: Vec::new(), writes: vec![put_json(key.clone(), &info)?], answer: no_content() })
    })
}

pub(crate) fn update(_context: &Context<'_>, call: Call) -> Next {
    let tenant = call.tenant()?;
    let info: TenantInfo = call.required("TenantInfo")?;
    let key = keys::tenant_key(&tenant);
    edit_record(key.clone(), move |context, found| {
        let old: TenantInfo = decode(found.ok_or_else(missing)?, &key)?;
        check(context, &info)?;
        let mut own = context.directory().namespaces_of(&tenant);
        let mut removed = old.allowed_clusters.difference(&info.allowed_clusters);
        let in_use = removed.find_map(|cluster| {
            own.find(|(_, record)| record.policies.replication_clusters.contains(cluster))
                .map(|(name, _)| (cluster, name))
        });
        if let Some((cluster, namespace)) = in_use {
            let reason =
                format!("cluster {cluster} is still used by namespace {namespace}: change its replication first");
            return Err(Refusal::new(409, reason));
        }
        Ok(Edit { compare: Vec::new(), writes: vec![put_json(key.clone(), &info)?], answer: no_content() })
    })
}

fn check(context: &Context<'_>, info: &TenantInfo) -> Result<(), Refusal> {
    if info.allowed_clusters.is_empty() {
        return Err(Refusal::bad_value("Clusters can not be empty: give allowedClusters"));
    }
    let unknown = info.allowed_clusters.iter().find(|name| context.directory().cluster(name).is_none());
    match unknown {
        Some(name) => Err(Refusal::bad_value(format!("Clusters do not exist: {name}; create it first"))),
        None => Ok(()),
    }
}

pub(crate) fn delete(context: &Context<'_>, call: Call) -> Next {
    let tenant = call.tenant()?;
    context.directory().tenant(&tenant).ok_or_else(missing)?;
    let own: Vec<NamespaceName> = context.directory().namespaces_of(&tenant).map(|(name, _)| name.clone()).collect();
    if let Some(first) = own.first()
        && !call.flag("force")
    {
        let reason = format!("The tenant still has active namespaces, such as {first}: delete them first or use force");
        return Err(Refusal::new(409, reason));
    }
    namespaces::delete_all(context, own, move |_| delete_record(tenant))
}

fn delete_record(tenant: TenantName) -> Next {
    let key = keys::tenant_key(&tenant);
    edit_record(key.clone(), move |_, found| {
        found.ok_or_else(missing)?;
        let none = Compare::NoneWithPrefix { prefix: keys::namespaces_prefix(&tenant) };
        let reason = format!("The tenant still has active namespaces: {tenant}");
        let compare = vec![(none, Refusal::new(409, reason))];
        Ok(Edit { compare, writes: vec![Write::Delete { key: key.clone() }], answer: no_content() })
    })
}
