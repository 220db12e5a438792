//! A tower layer that labels degraded answers in X-Fallback-Source and X-Data-Freshness
