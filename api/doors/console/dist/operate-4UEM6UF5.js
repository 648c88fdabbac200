import{L as e,o as t,y as n}from"./chunk-DZFAD3X6.js";function s({segments:o}){return n(e,{icon:"info",text:t("place.unknown")})}export{s as Operate};
