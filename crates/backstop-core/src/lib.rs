//! The vocabulary that Backstop's layers share: names, outcomes, rejections, degradations, deadlines, replayable bodies
