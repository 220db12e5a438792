//! Whatever the body, its chunks and the moments at which it is copied: a copy is the body.

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;
use proptest::prelude::*;

use super::script::{Act, Erased, Length, Script, read_all, read_some, trailers};
use crate::body::{NotReplayable, ReplayState, ReplayableBody};

#[derive(Clone, Debug)]
enum Part {
    Data(Vec<u8>),
    Later,
}

#[derive(Clone, Debug)]
struct Sample {
    parts: Vec<Part>,
    ends: Option<HeaderMap>,
    declared: bool,
}

impl Sample {
    fn body(&self) -> Erased {
        let parts = self.parts.iter().map(|part| match part {
            Part::Data(bytes) => Act::Data(Bytes::copy_from_slice(bytes)),
            Part::Later => Act::Later,
        });
        let acts = parts.chain(self.ends.clone().map(Act::Trailers));
        let length = if self.declared { Length::Declared } else { Length::Unknown };
        Erased::new(Script::new(acts).with_length(length))
    }

    fn bytes(&self) -> Vec<u8> {
        let data = self.parts.iter().filter_map(|part| if let Part::Data(bytes) = part { Some(bytes) } else { None });
        data.flatten().copied().collect()
    }

    fn trailers(&self) -> Vec<HeaderMap> {
        self.ends.iter().cloned().collect()
    }
}

fn samples() -> impl Strategy<Value = Sample> {
    let size = prop_oneof![4 => 0..40_usize, 1 => 1000..3000_usize];
    let chunk = size.prop_flat_map(|size| prop::collection::vec(any::<u8>(), size));
    let part = prop_oneof![4 => chunk.prop_map(Part::Data), 1 => Just(Part::Later)];
    let ends = prop::option::of(Just(trailers("end")));
    (prop::collection::vec(part, 0..12), ends, any::<bool>()).prop_map(|(parts, ends, declared)| Sample {
        parts,
        ends,
        declared,
    })
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn any_body_is_replayed_byte_for_byte(
        sample in samples(),
        stops in prop::collection::vec(0..14_usize, 0..5),
        drop_early in any::<bool>(),
    ) {
        run(async {
            let expected = (sample.bytes(), sample.trailers());
            let (mut reader, mut replay) = sample.body().split(64 * 1024);
            for stop in stops {
                let declared = reader.size_hint().exact();
                let (bytes, _) = read_some(&mut reader, stop).await.unwrap();
                prop_assert!(expected.0.starts_with(&bytes));
                if sample.declared {
                    prop_assert_eq!(declared, Some(expected.0.len() as u64));
                    prop_assert_eq!(reader.size_hint().exact(), Some((expected.0.len() - bytes.len()) as u64));
                }
                if drop_early {
                    reader = Erased::default();
                }
                let copy = replay.copy().unwrap();
                drop(std::mem::replace(&mut reader, copy));
            }
            prop_assert_eq!(&read_all(reader).await.unwrap(), &expected);
            prop_assert_eq!(replay.state(), ReplayState::Whole);
            prop_assert_eq!(&read_all(replay.copy().unwrap()).await.unwrap(), &expected);
            Ok(())
        })?;
    }

    #[test]
    fn a_body_over_the_cap_is_sent_whole_and_never_copied_in_part(sample in samples(), cap in 0..6000_usize) {
        run(async {
            let expected = (sample.bytes(), sample.trailers());
            let cost = expected.0.len() + sample.ends.as_ref().map_or(0, |_| 1 + "x-checksum".len() + "end".len());
            let (first, mut replay) = sample.body().split(cap);
            prop_assert_eq!(&read_all(first).await.unwrap(), &expected);
            match replay.copy() {
                Ok(copy) => {
                    prop_assert!(cost <= cap);
                    prop_assert_eq!(&read_all(copy).await.unwrap(), &expected);
                }
                Err(reason) => {
                    prop_assert!(cost > cap);
                    prop_assert_eq!(reason, NotReplayable::TooLarge);
                }
            }
            Ok(())
        })?;
    }
}
