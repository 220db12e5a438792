//! A page as it is serialised.

use serde::{Serialize, Serializer, ser::SerializeStruct};

use super::{Page, PageStatus};

/// A failed service, as it is serialised.
#[derive(Serialize)]
struct FailedService<'a> {
    service: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<T: Serialize> Serialize for Page<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut page = serializer.serialize_struct("Page", 5)?;
        page.serialize_field("data", &self.data)?;
        self.status.serialize_fields(page)
    }
}

impl Serialize for PageStatus {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.serialize_fields(serializer.serialize_struct("PageStatus", 4)?)
    }
}

impl PageStatus {
    fn serialize_fields<S: SerializeStruct>(&self, mut page: S) -> Result<S::Ok, S::Error> {
        let failed = self.explained().map(|(failure, error)| FailedService {
            service: failure.part.as_str(),
            reason: failure.reason.as_str(),
            error,
        });
        page.serialize_field("degraded", &self.is_degraded())?;
        page.serialize_field("partial_failure", &self.is_partial())?;
        page.serialize_field("warnings", &self.warnings)?;
        page.serialize_field("failed_services", &failed.collect::<Vec<_>>())?;
        page.end()
    }
}
