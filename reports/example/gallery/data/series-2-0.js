evalkitData("series-2-0", {});
