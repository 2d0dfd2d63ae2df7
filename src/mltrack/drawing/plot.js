"use strict";
new mltrackBoard.Board(document.getElementById("board"), JSON.parse(document.getElementById("chart-data").textContent));
