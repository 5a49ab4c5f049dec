evalkitData("series-1-0", {"16":[[],null,"Camera of 1.000 is worse than 50% of this run's clips."],"17":[[],null,"Camera of 1.000 is worse than 50% of this run's clips."]});
