//! How far a layer follows a response. Each layer documents what it does until then.

/// Until the response head has arrived. For responses of any type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UntilHeaders;

/// Until the first frame of the response body that isn't empty.
///
/// Costs one allocation for each response with a body. The body keeps its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UntilFirstFrame;

/// Until the end of the response body.
///
/// Costs one allocation for each response with a body. The body keeps its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UntilBodyEnd;
