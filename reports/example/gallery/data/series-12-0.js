evalkitData("series-12-0", {"20":[[],null,"Order of events of 1.000 is worse than 50% of this run's clips."],"21":[[],null,"Order of events of 1.000 is worse than 50% of this run's clips."]});
