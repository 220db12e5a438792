//! How far into a response a layer looks: the same words in every layer. What a layer does until then is its own.

/// Until the response head is there: for responses of any type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UntilHeaders;

/// Until the first frame of the response body that holds anything.
///
/// Costs one allocation for each response with a body, which keeps its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UntilFirstFrame;

/// Until the end of the response body.
///
/// Costs one allocation for each response with a body, which keeps its type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UntilBodyEnd;
