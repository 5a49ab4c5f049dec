evalkitData("series-12-0", {"20":[[],null,"Order of events of 0.00 is the worst of this run."],"21":[[],null,"Order of events of 1.00 is the best of this run."]});
